#include "tests/support/certificates.hpp"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "proxy/base/ensure.hpp"

namespace outrigger::test {
namespace {

EVP_PKEY* make_key() {
  EVP_PKEY* const key = EVP_EC_gen("P-256");
  ENSURE(key != nullptr);
  return key;
}

void extend(X509* certificate, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str());
  ENSURE(extension != nullptr);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

X509* make_certificate(const CertificateWish& wish, EVP_PKEY* key) {
  static long serial = 0;
  X509* const certificate = X509_new();
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate), wish.valid_from);
  X509_gmtime_adj(X509_getm_notAfter(certificate), wish.valid_until);
  X509_set_pubkey(certificate, key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(wish.subject.c_str()), -1, -1, 0);
  return certificate;
}

template <class Write>
std::string pem(Write write) {
  BIO* const out = BIO_new(BIO_s_mem());
  write(out);
  char* text = nullptr;
  const long size = BIO_get_mem_data(out, &text);
  const std::string result(text, static_cast<std::size_t>(size));
  BIO_free_all(out);
  return result;
}

std::string pem_of(X509* certificate) {
  return pem([&](BIO* out) { PEM_write_bio_X509(out, certificate); });
}

std::string pem_of(EVP_PKEY* key) {
  return pem([&](BIO* out) { PEM_write_bio_PrivateKey(out, key, nullptr, nullptr, 0, nullptr, nullptr); });
}

}  // namespace

std::string rsa_key() {
  EVP_PKEY* const key = EVP_RSA_gen(2048);
  ENSURE(key != nullptr);
  const std::string text = pem_of(key);
  EVP_PKEY_free(key);
  return text;
}

Authority::Authority(const std::string& name) : key_(make_key()) {
  self_ = make_certificate({.subject = name, .names = {}, .valid_until = 7200}, key_);
  X509_set_issuer_name(self_, X509_get_subject_name(self_));
  extend(self_, self_, NID_basic_constraints, "critical,CA:TRUE");
  ENSURE(X509_sign(self_, key_, EVP_sha256()) > 0);
  certificate_ = pem_of(self_);
}

Authority::~Authority() {
  X509_free(self_);
  EVP_PKEY_free(key_);
}

Identity Authority::issue(const CertificateWish& wish) const {
  EVP_PKEY* const key = make_key();
  X509* const certificate = make_certificate(wish, key);
  X509_set_issuer_name(certificate, X509_get_subject_name(self_));
  std::string names;
  for (const std::string& name : wish.names) names += (names.empty() ? "" : ",") + name;
  if (!names.empty()) extend(certificate, self_, NID_subject_alt_name, names);
  ENSURE(X509_sign(certificate, key_, EVP_sha256()) > 0);
  Identity identity{pem_of(certificate), pem_of(key)};
  X509_free(certificate);
  EVP_PKEY_free(key);
  return identity;
}

}  // namespace outrigger::test
