// proxy/net/tls_context.hpp
//
// What all TLS connections of one listener or one upstream have in common: certificates, whom to believe, versions. It
// is made from the files that a configuration names, before that configuration is accepted, and never changes: a
// connection keeps the one it began with, a reload gives new connections a new one.
//
// Sessions can be taken up again across reloads and workers: all contexts of the process share the keys that seal
// session tickets, and no session is stored here. A ticket is good for one listener and its client CA only, and not for
// longer than the certificate of its client.
//
// OpenSSL is used in proxy/net/tls_*.cpp and nowhere else; its types are only named here.
//
// Threads: built by the control thread; any thread may use it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proxy/config/diagnostic.hpp"
#include "proxy/config/schema.hpp"

struct ssl_ctx_st;

namespace outrigger::net {

class TlsContext {
 public:
  struct Free {
    void operator()(ssl_ctx_st* context) const noexcept;
  };
  using Handle = std::unique_ptr<ssl_ctx_st, Free>;

  TlsContext(Handle handle, std::optional<std::int64_t> expires) : handle_(std::move(handle)), expires_(expires) {}

  ssl_ctx_st* handle() const noexcept { return handle_.get(); }
  /// When the first certificate of those that we show expires, in seconds of Unix time; nullopt: we show none.
  std::optional<std::int64_t> expires() const noexcept { return expires_; }

 private:
  Handle handle_;
  std::optional<std::int64_t> expires_;
};

/// By position in the configuration; nullptr where there is no `tls`.
struct TlsContexts {
  std::vector<std::shared_ptr<const TlsContext>> listeners;
  std::vector<std::shared_ptr<const TlsContext>> upstreams;
};

/// The contexts of a configuration. Errors: nullptr, and in `errors` what is wrong with which file, each at the place
/// where the configuration names it.
std::shared_ptr<const TlsContexts> build_tls(const config::Config& config, config::Diagnostics& errors);

/// What `build_tls` would find wrong.
config::Diagnostics check_tls(const config::Config& config);

/// Tells two settings of an upstream apart: connections made under one must not serve under the other.
std::string fingerprint(const config::UpstreamTlsConfig& tls);

}  // namespace outrigger::net
