#include "proxy/net/tls_context.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "proxy/base/ensure.hpp"
#include "proxy/net/tls_session.hpp"

namespace outrigger::net {
namespace {

using config::FileConfig;
using config::TlsVersion;

template <auto release>
struct Release {
  template <class T>
  void operator()(T* object) const noexcept {
    release(object);
  }
};
using Certificate = std::unique_ptr<X509, Release<&X509_free>>;
using PrivateKey = std::unique_ptr<EVP_PKEY, Release<&EVP_PKEY_free>>;
using Bytes = std::unique_ptr<BIO, Release<&BIO_free_all>>;

// ALPN's form: a length before each name.
constexpr std::array<unsigned char, 9> kHttp11 = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};

/// Names of blocks and keys in the configuration.
struct Wrong {
  const FileConfig* file;
  std::string key;
  std::string message;
};

std::string reason() {
  const unsigned long error = ERR_peek_last_error();
  const char* const text = ERR_reason_error_string(error);
  ERR_clear_error();
  return text != nullptr ? text : "not readable";
}

Bytes bytes_of(const FileConfig& file) {
  return Bytes{BIO_new_mem_buf(file.text.data(), static_cast<int>(file.text.size()))};
}

/// Nobody is asked for a passphrase: who could answer?
int no_passphrase(char*, int, int, void*) { return -1; }

std::vector<Certificate> certificates_of(const FileConfig& file, std::string& wrong) {
  std::vector<Certificate> all;
  const Bytes bytes = bytes_of(file);
  ERR_clear_error();
  while (X509* const next = PEM_read_bio_X509_AUX(bytes.get(), nullptr, &no_passphrase, nullptr))
    all.emplace_back(next);
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  if (all.empty()) {
    wrong = "has no certificate in PEM form";
  } else if (!at_end) {
    wrong = "has a certificate that cannot be read: " + reason();
  }
  ERR_clear_error();
  return all;
}

std::int64_t expiry_of(const X509& certificate) {
  std::tm time{};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(&certificate), &time) != 1) return 0;
  return ::timegm(&time);
}

/// One pass over a `tls` block: its members are what can be wrong with each file.
class Builder {
 public:
  Builder(bool server, TlsVersion min_version)
      : context_(SSL_CTX_new(server ? TLS_server_method() : TLS_client_method())) {
    ENSURE(context_ != nullptr);
    SSL_CTX* const raw = context_.get();
    SSL_CTX_set_min_proto_version(raw, min_version == TlsVersion::v1_3 ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION);
    // An idle connection holds no buffers; a record that the kernel will not take is offered again from wherever the
    // bytes are by then.
    SSL_CTX_set_mode(raw,
                     SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(raw, 1);
  }

  void show(const FileConfig& chain, const FileConfig& key) {
    std::string wrong;
    std::vector<Certificate> certificates = certificates_of(chain, wrong);
    if (!wrong.empty()) return refuse(chain, "certificate", wrong);
    SSL_CTX* const raw = context_.get();
    if (SSL_CTX_use_certificate(raw, certificates.front().get()) != 1) return refuse(chain, "certificate", reason());
    for (std::size_t i = 0; i < certificates.size(); ++i) {
      const std::int64_t expiry = expiry_of(*certificates[i]);
      expires_ = std::min(expires_.value_or(expiry), expiry);
      if (i > 0) SSL_CTX_add0_chain_cert(raw, certificates[i].release());
    }
    const Bytes bytes = bytes_of(key);
    const PrivateKey read{PEM_read_bio_PrivateKey(bytes.get(), nullptr, &no_passphrase, nullptr)};
    if (!read) return refuse(key, "private_key", "has no private key in PEM form without a passphrase");
    // OpenSSL's context has a place for each type of key, and would keep one that matches no certificate.
    if (X509_check_private_key(certificates.front().get(), read.get()) != 1 ||
        SSL_CTX_use_PrivateKey(raw, read.get()) != 1) {
      return refuse(key, "private_key", "does not belong to the certificate: " + reason());
    }
  }

  void believe(const FileConfig& ca, const char* key) {
    std::string wrong;
    const std::vector<Certificate> certificates = certificates_of(ca, wrong);
    if (!wrong.empty()) return refuse(ca, key, wrong);
    for (const Certificate& certificate : certificates) {
      X509_STORE_add_cert(SSL_CTX_get_cert_store(context_.get()), certificate.get());
      SSL_CTX_add_client_CA(context_.get(), certificate.get());
    }
    ERR_clear_error();  // one that is there twice is no harm
  }

  SSL_CTX* raw() noexcept { return context_.get(); }
  const std::vector<Wrong>& wrong() const noexcept { return wrong_; }
  std::shared_ptr<const TlsContext> finish() {
    return std::make_shared<const TlsContext>(std::move(context_), expires_);
  }

 private:
  void refuse(const FileConfig& file, std::string key, std::string message) {
    wrong_.push_back({&file, std::move(key), file.path + " " + std::move(message)});
  }

  TlsContext::Handle context_;
  std::optional<std::int64_t> expires_;
  std::vector<Wrong> wrong_;
};

int choose_http11(SSL*, const unsigned char** chosen, unsigned char* size, const unsigned char* offered,
                  unsigned int offered_size, void*) {
  unsigned char* found = nullptr;
  const int result = SSL_select_next_proto(&found, size, kHttp11.data(), kHttp11.size(), offered, offered_size);
  *chosen = found;
  return result == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

using TicketKeys = std::array<unsigned char, 80>;

/// The keys that seal session tickets: one set for the life of the process.
TicketKeys& ticket_keys() {
  static TicketKeys keys = [] {
    TicketKeys made;
    ENSURE(RAND_bytes(made.data(), made.size()) == 1);
    return made;
  }();
  return keys;
}

/// A client whose certificate has expired since gets no further with its ticket than without: a whole handshake, in
/// which it can show another one.
SSL_TICKET_RETURN judge_ticket(SSL*, SSL_SESSION* session, const unsigned char*, std::size_t, SSL_TICKET_STATUS status,
                               void*) {
  if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW) return SSL_TICKET_RETURN_IGNORE_RENEW;
  const X509* const peer = SSL_SESSION_get0_peer(session);
  if (peer != nullptr && X509_cmp_current_time(X509_get0_notAfter(peer)) <= 0) return SSL_TICKET_RETURN_IGNORE_RENEW;
  return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

/// A client that did not need a certificate, or needed another one, comes with a ticket of that time: it is not let in
/// by it.
void bind_tickets(SSL_CTX* context, const config::ListenerConfig& listener) {
  const std::string scope = listener.name + '\n' + listener.tls->client_ca.text;
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
  SHA256(reinterpret_cast<const unsigned char*>(scope.data()), scope.size(), digest.data());
  SSL_CTX_set_session_id_context(context, digest.data(), digest.size());
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_tlsext_ticket_keys(context, ticket_keys().data(), ticket_keys().size());
  SSL_CTX_set_session_ticket_cb(context, nullptr, &judge_ticket, nullptr);
}

Builder of_listener(const config::ListenerConfig& listener) {
  const config::ListenerTlsConfig& tls = *listener.tls;
  Builder builder(true, tls.min_version);
  builder.show(tls.certificate, tls.private_key);
  if (!tls.client_ca.path.empty()) {
    builder.believe(tls.client_ca, "client_ca");
    SSL_CTX_set_verify(builder.raw(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  }
  bind_tickets(builder.raw(), listener);
  SSL_CTX_set_alpn_select_cb(builder.raw(), &choose_http11, nullptr);
  return builder;
}

Builder of_upstream(const config::UpstreamTlsConfig& tls) {
  Builder builder(false, tls.min_version);
  if (!tls.certificate.path.empty()) builder.show(tls.certificate, tls.private_key);
  if (!tls.ca.path.empty()) {
    builder.believe(tls.ca, "ca");
  } else {
    SSL_CTX_set_default_verify_paths(builder.raw());
  }
  SSL_CTX_set_verify(builder.raw(), tls.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
  SSL_CTX_set_alpn_protos(builder.raw(), kHttp11.data(), kHttp11.size());
  TlsSession::keep_tickets(builder.raw());
  ERR_clear_error();
  return builder;
}

std::shared_ptr<const TlsContext> finish(Builder builder, const std::string& path, config::Diagnostics& errors) {
  for (const Wrong& wrong : builder.wrong()) {
    const config::SourcePosition& at = wrong.file->at;
    errors.push_back({.file = at.file,
                      .line = at.line,
                      .col = at.col,
                      .path = path + ".tls." + wrong.key,
                      .message = wrong.message});
  }
  return builder.finish();
}

}  // namespace

void TlsContext::Free::operator()(ssl_ctx_st* context) const noexcept { SSL_CTX_free(context); }

std::shared_ptr<const TlsContexts> build_tls(const config::Config& config, config::Diagnostics& errors) {
  auto contexts = std::make_shared<TlsContexts>();
  for (std::size_t i = 0; i < config.listeners.size(); ++i) {
    const config::ListenerConfig& listener = config.listeners[i];
    auto& place = contexts->listeners.emplace_back();
    if (listener.tls) place = finish(of_listener(listener), "listeners[" + std::to_string(i) + "]", errors);
  }
  for (const config::UpstreamConfig& upstream : config.upstreams) {
    auto& place = contexts->upstreams.emplace_back();
    if (upstream.tls) place = finish(of_upstream(*upstream.tls), "upstreams." + upstream.name, errors);
  }
  return errors.empty() ? contexts : nullptr;
}

config::Diagnostics check_tls(const config::Config& config) {
  config::Diagnostics errors;
  build_tls(config, errors);
  return errors;
}

std::string fingerprint(const config::UpstreamTlsConfig& tls) {
  std::string text = tls.sni + (tls.verify ? "\nverified" : "\nunverified") +
                     (tls.min_version == TlsVersion::v1_3 ? "\n1.3" : "\n1.2");
  for (const FileConfig* const file : files_of(tls)) text += '\n' + file->text;
  std::string digest(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(),
         reinterpret_cast<unsigned char*>(digest.data()));
  return digest;
}

}  // namespace outrigger::net
