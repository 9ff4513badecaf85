// proxy/server/health_probe.hpp
//
// One health check: a connection of its own, a GET, and the status of the answer; all within one time limit. It is read
// by the same parser as every answer, so an endpoint that answers something else than HTTP is as bad as one that does
// not answer.
//
// Threads: the control thread.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "proxy/base/time.hpp"
#include "proxy/http/h1_head.hpp"
#include "proxy/net/asio.hpp"
#include "proxy/net/socket_address.hpp"
#include "proxy/net/tls_context.hpp"
#include "proxy/policy/status_set.hpp"

namespace outrigger::server {

class HealthProbe {
 public:
  struct Question {
    net::SocketAddress address;
    std::string host;  // for the Host field
    std::string path;  // perhaps with a query
    Nanos timeout{};
    policy::StatusSet expect;
    std::shared_ptr<const net::TlsContext> tls;  // nullptr: asked in the clear
    std::string tls_name;                        // whom the certificate must be of
  };
  /// `why`: what is wrong; empty: nothing.
  using Done = std::function<void(std::string why)>;

  /// Begins at once; `done` is called once, and never from in here. The parser is used by one probe after the other.
  HealthProbe(net::IoContext& io, http::HeadParser& parser, const Question& question, Done done);
  /// Breaks it off: nobody is told.
  ~HealthProbe();
  HealthProbe(const HealthProbe&) = delete;
  HealthProbe& operator=(const HealthProbe&) = delete;

 private:
  struct Run;
  std::shared_ptr<Run> run_;
};

}  // namespace outrigger::server
