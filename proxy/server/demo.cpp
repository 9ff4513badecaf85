#include "proxy/server/demo.hpp"

#include <unistd.h>

#include <iostream>
#include <string>

#include "proxy/config/load.hpp"
#include "proxy/net/socket_address.hpp"
#include "proxy/server/flaky_upstream.hpp"
#include "proxy/server/server.hpp"

namespace outrigger::server {
namespace {

/// That port if it is free, else one that the kernel chooses.
std::string free_address(std::uint16_t port) {
  const auto wanted = net::parse_address("127.0.0.1:" + std::to_string(port));
  std::string error;
  const std::vector<int> opened = net::open_listeners(*wanted, 1, error);
  for (const int descriptor : opened) ::close(descriptor);
  return opened.empty() ? "127.0.0.1:0" : wanted->text;
}

std::string demo_config(const DemoOptions& options, std::uint16_t upstream) {
  return R"(version: 1
admin: { listen: ")" +
         free_address(options.admin_port) + R"(" }
listeners:
  - { name: demo, listen: ")" +
         free_address(options.port) + R"(", debug_headers: true }
upstreams:
  flaky: { endpoints: ["127.0.0.1:)" +
         std::to_string(upstream) + R"("] }
routes:
  - { match: { path_prefix: / }, policy: demo.Call, upstream: flaky }
policies:
  demo.Call:
    overall_timeout: 2s
    retry: { max_attempts: 3, timeout_per_attempt: 250ms }
telemetry:
  log: { level: warn, format: text }
  timelines: { sample: 100% }
drain: { delay: 0s, grace: 2s }
)";
}

void print_guide(const std::string& ready) {
  // The ready line is ours: {"event":"ready","listeners":{"demo":"A"},"admin":"B"}.
  const auto after = [&ready](std::string_view key) {
    const std::size_t from = ready.find(key) + key.size();
    return ready.substr(from, ready.find('"', from) - from);
  };
  const std::string proxy = "http://" + after(R"("demo":")");
  const std::string admin = "http://" + after(R"("admin":")");
  std::cout
      << "\nOutrigger is between you and an upstream of which one request in three fails (503), one in ten hangs,\n"
         "and one in twenty is reset. Try it:\n\n"
         "  curl -i "
      << proxy
      << "/hello\n"
         "      an answer nearly every time; X-Outrigger-Attempts says how many tries it took\n\n"
         "  for i in $(seq 20); do curl -s -o /dev/null -w '%{http_code} ' "
      << proxy
      << "/hello; done; echo\n"
         "      twenty requests\n\n"
         "  curl -s '"
      << admin
      << "/timelines?kind=retry&limit=1'\n"
         "      why the last retry happened, attempt by attempt\n\n"
         "  curl -i -X POST -d amount=1 "
      << proxy
      << "/charge\n"
         "      never sent twice: a failure is passed on, and the timeline says http_non_idempotent\n\n"
         "  curl -s "
      << admin
      << "/metrics | grep -E 'requests_total|attempts_total|budget' | grep -v ' 0$'\n"
         "      what Prometheus sees\n\n"
         "Ctrl-C ends it.\n"
      << std::endl;
}

}  // namespace

int run_demo(const DemoOptions& options) {
  FlakyUpstream upstream;
  const config::LoadResult loaded = config::load_text(demo_config(options, upstream.port()), "demo");
  ServerOptions server_options;
  server_options.config_file = "demo";
  server_options.ready = print_guide;
  return Server(loaded.config, std::move(server_options)).run();
}

}  // namespace outrigger::server
