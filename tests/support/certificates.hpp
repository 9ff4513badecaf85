// tests/support/certificates.hpp
//
// Certificates of the test's own making, with keys of the kind that is made fastest.
#pragma once

#include <memory>
#include <string>
#include <vector>

struct evp_pkey_st;
struct x509_st;

namespace outrigger::test {

/// A certificate with its key, both in PEM form.
struct Identity {
  std::string certificate;
  std::string key;
};

struct CertificateWish {
  std::string subject = "localhost";
  std::vector<std::string> names = {"DNS:localhost", "IP:127.0.0.1"};
  long valid_from = -3600;  // seconds from now
  long valid_until = 3600;
};

/// A key of another kind, in PEM form.
std::string rsa_key();

class Authority {
 public:
  explicit Authority(const std::string& name = "Test CA");
  ~Authority();
  Authority(const Authority&) = delete;
  Authority& operator=(const Authority&) = delete;

  /// Its own certificate, by which others know it.
  const std::string& certificate() const noexcept { return certificate_; }
  Identity issue(const CertificateWish& wish = {}) const;

 private:
  evp_pkey_st* key_;
  x509_st* self_;
  std::string certificate_;
};

}  // namespace outrigger::test
