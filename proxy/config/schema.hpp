// proxy/config/schema.hpp
//
// What a configuration file means, as plain values with every default filled in: one struct per YAML block, and the
// policies' own Config structs where a mechanism already has one, so that no number exists twice. A `Config` that
// `load` returned without errors is complete and consistent; nothing behind it looks at YAML again or asks whether a
// key was given. `std::optional` is used only where absence itself means something.
//
// A default lives here (or in proxy/policy) and nowhere else; its bounds stand beside the key in the load_*.cpp files.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proxy/base/priority.hpp"
#include "proxy/base/time.hpp"
#include "proxy/http/route_table.hpp"
#include "proxy/http/target.hpp"
#include "proxy/policy/adaptive_limit.hpp"
#include "proxy/policy/adaptive_throttle.hpp"
#include "proxy/policy/balance.hpp"
#include "proxy/policy/budget.hpp"
#include "proxy/policy/bulkhead.hpp"
#include "proxy/policy/cache.hpp"
#include "proxy/policy/chaos.hpp"
#include "proxy/policy/circuit_breaker.hpp"
#include "proxy/policy/classifier.hpp"
#include "proxy/policy/fallback.hpp"
#include "proxy/policy/health.hpp"
#include "proxy/policy/hedge.hpp"
#include "proxy/policy/outlier.hpp"
#include "proxy/policy/policy.hpp"
#include "proxy/policy/rate_limit.hpp"

namespace outrigger::config {

/// The place in a file that a value came from; lines and columns count from 1, 0 where a value is built in.
struct SourcePosition {
  std::string file;
  int line = 0;
  int col = 0;
};

/// A host name or address and a port; `host` bears no brackets. Or, where `path` is given, a Unix socket.
struct HostPort {
  std::string host;
  std::uint16_t port = 0;
  std::string path = {};

  friend bool operator==(const HostPort&, const HostPort&) = default;
};

/// As it is written in a file: brackets around an IPv6 address, `unix:` before a path.
std::string to_string(const HostPort& address);

/// A file that the configuration names, as it was when the configuration was read. An empty path: none.
struct FileConfig {
  std::string path;
  std::string text;
  SourcePosition at;  // of the name
};

enum class TlsVersion : std::uint8_t { v1_2, v1_3 };

/// How a listener's clients are spoken to. The files are judged by who uses them (proxy/net/tls_context.hpp).
struct ListenerTlsConfig {
  FileConfig certificate;  // the chain, our own certificate first
  FileConfig private_key;
  FileConfig client_ca;  // given: clients must have a certificate of one of these
  TlsVersion min_version = TlsVersion::v1_2;
};

/// How an upstream is spoken to.
struct UpstreamTlsConfig {
  FileConfig ca;           // whose certificates are believed; none: those that the system believes
  FileConfig certificate;  // ours, with its key, or none
  FileConfig private_key;
  std::string sni;  // the name asked for and checked; empty: the endpoint's own
  bool verify = true;
  TlsVersion min_version = TlsVersion::v1_2;

  /// Whom the certificate of an endpoint must be of that is configured by this host.
  const std::string& name_of(const std::string& host) const noexcept { return sni.empty() ? host : sni; }
};

inline std::array<const FileConfig*, 3> files_of(const ListenerTlsConfig& tls) {
  return {&tls.certificate, &tls.private_key, &tls.client_ca};
}
inline std::array<const FileConfig*, 3> files_of(const UpstreamTlsConfig& tls) {
  return {&tls.ca, &tls.certificate, &tls.private_key};
}

struct AdminConfig {
  HostPort listen{"127.0.0.1", 9901};
  std::vector<std::string> allowed_hosts;
};

/// What one connection and one request may cost. The root's block holds for every listener that does not override it.
struct LimitsConfig {
  std::uint64_t max_request_head_bytes = std::uint64_t{32} * 1024;
  std::uint32_t max_headers = 100;
  std::uint64_t max_request_body_bytes = 0;  // 0 = none
  std::uint64_t max_response_head_bytes = std::uint64_t{64} * 1024;
  Nanos head_timeout = std::chrono::seconds{10};
  Nanos body_idle_timeout = std::chrono::seconds{30};
  Nanos idle_timeout = std::chrono::seconds{75};
  Nanos write_idle_timeout = std::chrono::seconds{30};
  std::uint32_t max_connections = 10'000;
  std::uint32_t max_requests_per_connection = 0;                // 0 = none
  std::uint64_t relay_buffer_bytes = std::uint64_t{64} * 1024;  // per direction
  http::EscapedSlashes escaped_slashes = http::EscapedSlashes::keep;
};

struct ListenerConfig {
  std::string name;
  HostPort listen;
  std::optional<ListenerTlsConfig> tls;
  LimitsConfig limits;
  bool trust_priority = false;  // filled in: true on a loopback or Unix address unless the file says otherwise
  std::uint32_t trusted_hops = 0;
  bool debug_headers = false;
  SourcePosition at;
};

struct EndpointConfig {
  HostPort address;
  std::uint32_t weight = 1;
};

/// How often the names of endpoints are asked about, and how long an answer is waited for.
struct DnsConfig {
  Nanos refresh = std::chrono::seconds{30};
  Nanos timeout = std::chrono::seconds{2};
};

/// What requests are told apart by where they are balanced by hash.
struct HashConfig {
  bool client_ip = false;
  std::string header;  // else
};

struct UpstreamConfig {
  std::string name;
  std::vector<EndpointConfig> endpoints;
  DnsConfig dns;
  std::optional<policy::HealthConfig> health_check;
  policy::Balance balance = policy::Balance::least_request;
  HashConfig hash;  // with Balance::hash
  Nanos connect_timeout = std::chrono::seconds{1};
  Nanos read_idle_timeout = std::chrono::seconds{60};
  Nanos idle_timeout = std::chrono::seconds{4};
  std::uint32_t max_requests_per_connection = 0;  // 0 = none
  std::uint32_t max_connections = 1024;           // in use at each endpoint
  std::uint32_t max_pending = 1024;               // requests that wait for one
  std::optional<policy::OutlierConfig> outlier_detection;
  bool panic = true;                // with no usable endpoint, all are used
  std::optional<std::string> host;  // absent: as received
  std::optional<UpstreamTlsConfig> tls;
  SourcePosition at;
};

/// Where copies of a route's requests go.
struct MirrorConfig {
  std::string upstream;
  double fraction = 1;
  std::uint32_t max_in_flight = 100;
};

/// An answer that is written in the configuration.
struct RespondConfig {
  std::uint16_t status = 0;
  std::vector<std::pair<std::string, std::string>> headers;  // in the order of the file
  std::string body;
  std::string body_file;  // where `body` was read from; empty: it was written in place
};

/// What of a request's target is sent instead of what came.
struct RewriteConfig {
  std::optional<std::string> path;    // instead of the whole path; the query stays
  std::optional<std::string> prefix;  // instead of the route's path_prefix
  std::optional<std::string> host;
};

/// Fields that a route changes in a head on its way through.
struct HeaderEditsConfig {
  std::vector<std::pair<std::string, std::string>> set;  // in the order of the file, as below
  std::vector<std::pair<std::string, std::string>> add;
  std::vector<std::string> remove;

  bool empty() const noexcept { return set.empty() && add.empty() && remove.empty(); }
};

struct RouteConfig {
  http::RouteMatch match;
  std::string policy = "default";
  std::string upstream;                  // empty: the route answers by itself
  std::optional<RespondConfig> respond;  // instead of an upstream
  RewriteConfig rewrite;
  HeaderEditsConfig request_headers;
  HeaderEditsConfig response_headers;
  std::optional<Priority> priority;  // absent: the request's own, else standard
  std::optional<MirrorConfig> mirror;
  std::vector<std::string> upgrade = {"websocket"};  // protocols that a request may switch to
  Nanos tunnel_idle_timeout = std::chrono::hours{1};
  SourcePosition at;
};

/// Where a policy's extra attempts get their permission from.
struct BudgetRef {
  enum class Kind : std::uint8_t {
    builtin,    // `default`: one instance per upstream, called default/<upstream>
    named,      // an entry of `budgets`, one instance for all that name it
    inline_,    // written in the policy: its own instance, called like an inline one of InstanceRef
    unlimited,  // `none`: extra attempts are not counted
  };
  Kind kind = Kind::builtin;
  std::string name = "default";  // of the instance
  double cost = 1;               // tokens per extra attempt; token_bucket only
  policy::BudgetConfig config;   // resolved, whatever the kind
};

/// A circuit, a limit or a throttle as a policy refers to it.
template <class InstanceConfig>
struct InstanceRef {
  enum class Kind : std::uint8_t {
    named,    // an entry of the root's map, one instance for all that name it
    inline_,  // written in the policy: its own instance
  };
  Kind kind = Kind::named;
  std::string name;       // of the instance; an inline one bears the policy's key, the second of its kind `<key>.2`
  InstanceConfig config;  // resolved, whatever the kind
  std::string path;       // of the reference in the file
};

using CircuitRef = InstanceRef<policy::CircuitConfig>;
using RateLimitRef = InstanceRef<policy::RateLimitConfig>;
using BulkheadRef = InstanceRef<policy::BulkheadConfig>;
using AdaptiveLimitRef = InstanceRef<policy::AdaptiveLimitConfig>;
using AdaptiveThrottleRef = InstanceRef<policy::AdaptiveThrottleConfig>;

inline constexpr std::size_t kMaxInstances = 4;  // of one kind in a policy

struct FallbackBlock {
  policy::FallbackConfig rule;
  RespondConfig respond;  // with Answer::respond
  std::string upstream;   // with Answer::upstream
};

struct ChaosBlock {
  http::RouteMatch match;  // beside the route's own
  policy::ChaosConfig chaos;
};

/// Whether a policy's decisions act, or are only computed and recorded.
enum class Mode : std::uint8_t { enforce, observe };

inline constexpr std::string_view kBuiltinClassifier = "http";

/// One policy with everything inherited; a block that is absent is off.
struct PolicyConfig {
  policy::Policy policy;
  Mode mode = Mode::enforce;
  BudgetRef retry_budget;
  std::string classifier = std::string(kBuiltinClassifier);  // of retry; a name in Config::classifiers, or built in
  std::optional<policy::HedgeConfig> hedge;
  BudgetRef hedge_budget;  // that of retry unless given
  std::vector<CircuitRef> circuits;
  std::vector<RateLimitRef> rate_limits;
  std::vector<BulkheadRef> bulkheads;
  std::optional<AdaptiveLimitRef> adaptive_limit;
  std::optional<AdaptiveThrottleRef> adaptive_throttle;
  std::optional<FallbackBlock> fallback;
  std::optional<policy::CacheConfig> cache;
  std::optional<ChaosBlock> chaos;
  std::string extends;  // empty: nothing
  SourcePosition at;
};

enum class LogLevel : std::uint8_t { debug, info, warn, error };
enum class LogFormat : std::uint8_t { json, text };

struct LogConfig {
  LogLevel level = LogLevel::info;
  LogFormat format = LogFormat::json;
  std::string file = "stderr";
};

struct AccessLogConfig {
  std::string file;                  // empty = off
  std::vector<std::string> headers;  // request fields whose values are written
};

struct TimelinesConfig {
  std::uint32_t keep = 2048;
  double sample = 0.01;
  bool log_query = false;
};

struct TelemetryConfig {
  LogConfig log;
  AccessLogConfig access_log;
  TimelinesConfig timelines;
  std::vector<double> histogram_buckets_s = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                             0.5,    1,     2.5,    5,     10,   15,    30,   60};
};

struct DrainConfig {
  Nanos delay = std::chrono::seconds{5};
  Nanos grace = std::chrono::seconds{20};
};

struct Config {
  std::uint32_t version = 1;
  std::optional<std::string> instance;   // absent: chosen at random when the process starts
  std::optional<std::uint32_t> workers;  // absent: as many as this process has CPUs
  AdminConfig admin;
  LimitsConfig limits;
  std::uint64_t buffer_memory_bytes = std::uint64_t{256} * 1024 * 1024;  // limits.buffer_memory
  std::vector<ListenerConfig> listeners;
  std::vector<UpstreamConfig> upstreams;                // in the order of the file
  std::vector<RouteConfig> routes;                      // first match wins
  std::map<std::string, PolicyConfig> policies;         // always with the key `default`
  std::map<std::string, policy::BudgetConfig> budgets;  // the named ones, here and below
  std::map<std::string, policy::CircuitConfig> circuits;
  std::map<std::string, policy::RateLimitConfig> rate_limits;
  std::map<std::string, policy::BulkheadConfig> bulkheads;
  std::map<std::string, policy::AdaptiveLimitConfig> adaptive_limits;
  std::map<std::string, policy::AdaptiveThrottleConfig> adaptive_throttles;
  std::map<std::string, policy::Classifier> classifiers;
  TelemetryConfig telemetry;
  DrainConfig drain;
  bool chaos_enabled = false;      // one of the two switches; the other is on the command line
  std::vector<std::string> files;  // every file read, the first one first
};

}  // namespace outrigger::config
