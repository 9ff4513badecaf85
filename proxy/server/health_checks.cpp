#include "proxy/server/health_checks.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "proxy/net/clock.hpp"
#include "proxy/net/socket_address.hpp"
#include "proxy/server/health_probe.hpp"

namespace outrigger::server {

struct HealthChecks::Check : std::enable_shared_from_this<Check> {
  explicit Check(net::IoContext& io) : timer(io.get_executor()) {}
  ~Check() {
    if (state) state->healthy.store(true, std::memory_order_relaxed);
  }

  std::string upstream;
  HealthProbe::Question question;
  policy::HealthConfig config;
  policy::Health health;
  std::shared_ptr<policy::EndpointState> state;
  TimePoint begun{};
  net::SteadyTimer timer;
  std::unique_ptr<HealthProbe> probe;  // under way
};

namespace {

/// The Host of a check: what requests are sent with, as far as that is known without one.
std::string host_for(const config::UpstreamConfig& upstream, const std::string& host, const std::string& address) {
  if (upstream.host) return *upstream.host;
  if (host.empty()) return "localhost";  // a Unix socket
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + address.substr(address.rfind(':'));
}

}  // namespace

HealthChecks::HealthChecks(net::IoContext& io, telemetry::LogWriter& log, std::uint64_t seed)
    : io_(io), log_(log), rng_(seed) {}

HealthChecks::~HealthChecks() = default;

void HealthChecks::follow(const config::Snapshot& snapshot, const net::TlsContexts& tls) {
  std::set<Key> wanted;
  std::size_t state = 0;  // endpoint states are in the order of the endpoints
  for (std::size_t i = 0; i < snapshot.config.upstreams.size(); ++i) {
    const config::UpstreamConfig& upstream = snapshot.config.upstreams[i];
    if (upstream.health_check) counts_.try_emplace(upstream.name);
    for (std::size_t j = 0; j < snapshot.endpoint_hosts[i].size(); ++j) {
      const policy::Endpoint& endpoint = snapshot.endpoint_sets[i].endpoints[j];
      const std::shared_ptr<policy::EndpointState>& shared = snapshot.endpoint_states[state++];
      if (!upstream.health_check) continue;
      const auto address = net::parse_address(endpoint.address);
      if (!address) continue;
      const Key key{upstream.name, endpoint.address};
      wanted.insert(key);
      std::shared_ptr<Check>& check = checks_[key];
      const bool is_new = !check;
      if (is_new) check = std::make_shared<Check>(io_);
      const bool same = !is_new && check->config == *upstream.health_check;
      check->upstream = upstream.name;
      check->config = *upstream.health_check;
      check->question = {
          .address = *address,
          .host = host_for(upstream, snapshot.endpoint_hosts[i][j], endpoint.address),
          .path = check->config.path,
          .timeout = check->config.timeout,
          .expect = check->config.expect,
          .tls = tls.upstreams[i],
          .tls_name = upstream.tls ? upstream.tls->name_of(snapshot.endpoint_hosts[i][j]) : std::string()};
      check->state = shared;
      shared->healthy.store(check->health.healthy(), std::memory_order_relaxed);
      // Also where the interval is another now: the old one may have been an hour.
      if (!same && !check->probe) schedule(*check, Nanos{0}, check->config.interval);
    }
  }
  std::erase_if(checks_, [&](const auto& entry) { return !wanted.contains(entry.first); });
}

void HealthChecks::schedule(Check& check, Nanos earliest, Nanos latest) {
  const auto span = static_cast<std::uint64_t>(std::max(latest - earliest, Nanos{1}).count());
  check.timer.expires_after(earliest + Nanos{static_cast<std::int64_t>(rng_.below(span))});
  // Cancelled too late, a timer still calls: for a check that is gone, or one that has begun already.
  check.timer.async_wait([this, weak = check.weak_from_this()](const net::error_code& error) {
    if (const auto still = weak.lock(); still && !error) begin(*still);
  });
}

void HealthChecks::begin(Check& check) {
  if (check.probe) return;
  check.begun = net::steady_now();
  check.probe = std::make_unique<HealthProbe>(io_, parser_, check.question,
                                              [this, &check](const std::string& why) { end(check, why); });
}

void HealthChecks::end(Check& check, const std::string& why) {
  check.probe.reset();
  const bool good = why.empty();
  Counts& counts = counts_[check.upstream];
  ++(good ? counts.good : counts.bad);
  if (check.health.take(check.config, good)) {
    check.state->healthy.store(good, std::memory_order_relaxed);
    log_.write(good ? telemetry::LogLevel::info : telemetry::LogLevel::warn,
               good ? "an endpoint is healthy again" : "an endpoint is unhealthy",
               {{"upstream", check.upstream},
                {"endpoint", check.question.address.text},
                {"reason", good ? std::string_view{"its health checks succeed"} : std::string_view{why}}});
  }
  const Nanos interval = check.config.interval;
  const Nanos passed = net::steady_now() - check.begun;
  schedule(check, std::max(interval - interval / 10 - passed, Nanos{0}),
           std::max(interval + interval / 10 - passed, Nanos{0}));
}

std::vector<telemetry::HealthCheckTotals> HealthChecks::totals() const {
  std::vector<telemetry::HealthCheckTotals> out;
  for (const auto& [upstream, counts] : counts_) out.push_back({upstream, counts.good, counts.bad});
  return out;
}

}  // namespace outrigger::server
