#include "proxy/admin/admin_routes.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include <arpa/inet.h>

#include "proxy/admin/query.hpp"
#include "proxy/base/header_view.hpp"
#include "proxy/telemetry/json_writer.hpp"

namespace outrigger::admin {
namespace {

using telemetry::JsonWriter;

constexpr std::string_view kText = "text/plain; charset=utf-8";
constexpr std::string_view kPrometheusText = "text/plain; version=0.0.4; charset=utf-8";

/// One call being answered.
struct Call {
  std::string_view named;  // the path's segment that the table leaves open, decoded
  std::string_view query;  // as received, without '?'
  std::string_view body;
  AdminBackend& backend;
  AdminDone& done;
};

AdminResponse json(std::string body, unsigned status = 200) {
  return {status, "application/json", std::move(body), {}};
}
AdminResponse text(std::string body, unsigned status = 200) { return {status, kText, std::move(body), {}}; }

template <class Write>
std::string object(Write&& write) {
  Buffer out;
  JsonWriter writer(out);
  writer.open('{');
  write(writer);
  writer.close('}');
  return std::string{out.view()};
}

// ---- calls ------------------------------------------------------------------------------------

void get_healthz(const Call& call) { call.done(text("ok")); }

void get_readyz(const Call& call) {
  const auto reason = call.backend.unready_reason();
  call.done(reason ? text(*reason, 503) : text("ok"));
}

void get_metrics(const Call& call) { call.done({200, kPrometheusText, call.backend.metrics_text(), {}}); }
void get_config(const Call& call) { call.done(json(call.backend.config_json())); }
void get_budgets(const Call& call) { call.done(json(call.backend.budgets_json())); }
void get_circuits(const Call& call) { call.done(json(call.backend.circuits_json())); }
void get_rate_limits(const Call& call) { call.done(json(call.backend.rate_limits_json())); }
void get_bulkheads(const Call& call) { call.done(json(call.backend.bulkheads_json())); }
void get_adaptive_limits(const Call& call) { call.done(json(call.backend.adaptive_limits_json())); }
void get_adaptive_throttles(const Call& call) { call.done(json(call.backend.adaptive_throttles_json())); }
void get_upstreams(const Call& call) { call.done(json(call.backend.upstreams_json())); }
void get_policies(const Call& call) { call.done(json(call.backend.policies_json())); }

void get_policy(const Call& call) {
  auto policy = call.backend.policy_json(call.named);
  call.done(policy ? json(std::move(*policy)) : admin_error(404, "no such policy"));
}

template <CircuitCommand kCommand>
void post_circuit(const Call& call) {
  auto circuits = call.backend.command_circuit(call.named, kCommand);
  call.done(circuits ? json(std::move(*circuits)) : admin_error(404, "no such circuit"));
}

void get_timelines(const Call& call) {
  TimelineQuery asked;
  if (const auto wrong = parse_query(call.query, asked)) {
    return call.done(admin_error(400, "bad parameter: " + *wrong));
  }
  call.backend.timelines(asked.filter, asked.limit, [done = std::move(call.done)](std::vector<std::string> timelines) {
    done(json(object([&](JsonWriter& writer) {
      writer.key("timelines").open('[');
      for (const std::string& timeline : timelines) writer.literal(timeline);
      writer.close(']');
    })));
  });
}

void get_timeline(const Call& call) {
  call.backend.timeline(std::string{call.named}, [done = std::move(call.done)](std::optional<std::string> timeline) {
    done(timeline ? json(std::move(*timeline)) : admin_error(404, "no timeline of that request is kept"));
  });
}

void write_texts(JsonWriter& writer, std::string_view name, const std::vector<std::string>& texts) {
  writer.key(name).open('[');
  for (const std::string& text : texts) writer.string(text);
  writer.close(']');
}

void post_reload(const Call& call) {
  call.backend.reload([done = std::move(call.done)](const ReloadResult& result) {
    done(json(object([&](JsonWriter& writer) {
                writer.key("generation").number(static_cast<std::int64_t>(result.generation));
                if (!result.ok) write_texts(writer, "errors", result.errors);
                if (!result.warnings.empty()) write_texts(writer, "warnings", result.warnings);
              }),
              result.ok ? 200 : 422));
  });
}

AdminResponse answer_to(const std::string& policy, const ChaosResult& result) {
  switch (result.kind) {
    case ChaosResult::Kind::done: break;
    case ChaosResult::Kind::no_policy: return admin_error(404, "no such policy");
    case ChaosResult::Kind::no_order: return admin_error(404, "no faults were ordered for that policy");
    case ChaosResult::Kind::not_now: return admin_error(409, result.errors.front());
    case ChaosResult::Kind::not_valid:
      return json(object([&](JsonWriter& writer) { write_texts(writer, "errors", result.errors); }), 422);
  }
  return json(object([&](JsonWriter& writer) {
    writer.key("policy").string(policy);
    if (!result.until.empty()) writer.key("until").string(result.until);
    writer.key("generation").number(static_cast<std::int64_t>(result.generation));
  }));
}

auto answering(const Call& call) {
  return [done = std::move(call.done), policy = std::string{call.named}](const ChaosResult& result) {
    done(answer_to(policy, result));
  };
}

void post_chaos(const Call& call) {
  const auto ttl = parse_ttl(call.query);
  if (!ttl) return call.done(admin_error(400, "ttl must be a duration from 1s to 24h"));
  call.backend.order_chaos(call.named, call.body, *ttl, answering(call));
}

void delete_chaos(const Call& call) { call.backend.end_chaos(call.named, answering(call)); }

void post_drain(const Call& call) {
  call.backend.drain();
  call.done(json(R"({"draining":true})"));
}

void post_log_level(const Call& call) {
  const std::string level = parameter(call.query, "level");
  if (!call.backend.set_log_level(level))
    return call.done(admin_error(400, "level must be debug, info, warn or error"));
  call.done(json(object([&](JsonWriter& writer) { writer.key("level").string(level); })));
}

void post_validate(const Call& call) { call.done(json(call.backend.validate(call.body))); }

void get_index(const Call& call);

struct Route {
  std::string_view method;
  std::string_view path;  // one segment may be left open: {what it names}
  void (*answer)(const Call&);
  std::string_view text;
};

constexpr Route kRoutes[] = {
    {"GET", "/", get_index, "this list"},
    {"GET", "/healthz", get_healthz, "200 while the process lives"},
    {"GET", "/readyz", get_readyz, "200 while new traffic is welcome"},
    {"GET", "/metrics", get_metrics, "metrics as Prometheus text"},
    {"GET", "/config", get_config, "the configuration in force"},
    {"POST", "/config/validate", post_validate, "checks the YAML in the body"},
    {"POST", "/reload", post_reload, "reads the configuration again"},
    {"GET", "/policies", get_policies, "policies with their defaults filled in"},
    {"GET", "/policies/{key}", get_policy, "one of them with its live state"},
    {"GET", "/budgets", get_budgets, "live state of the budgets"},
    {"GET", "/circuits", get_circuits, "live state of the circuits"},
    {"POST", "/circuits/{name}/reset", post_circuit<CircuitCommand::reset>, "closed, automatic, nothing remembered"},
    {"POST", "/circuits/{name}/force_open", post_circuit<CircuitCommand::force_open>, "admits nothing until told"},
    {"POST", "/circuits/{name}/force_close", post_circuit<CircuitCommand::force_close>, "admits all until told"},
    {"POST", "/circuits/{name}/auto", post_circuit<CircuitCommand::automatic>, "ends a forcing"},
    {"GET", "/rate_limits", get_rate_limits, "live state of the rate limits"},
    {"GET", "/bulkheads", get_bulkheads, "live state of the bulkheads"},
    {"GET", "/adaptive_limits", get_adaptive_limits, "live state of the adaptive limits"},
    {"GET", "/adaptive_throttles", get_adaptive_throttles, "live state of the adaptive throttles"},
    {"GET", "/upstreams", get_upstreams, "endpoints and what is on them"},
    {"GET", "/timelines", get_timelines, "recent requests: ?policy= reason= status= kind= min_ms= since= limit="},
    {"GET", "/timelines/{request_id}", get_timeline, "one request, by id"},
    {"POST", "/chaos/{policy}", post_chaos, "?ttl=60s: the faults of the chaos block in the body, for so long"},
    {"DELETE", "/chaos/{policy}", delete_chaos, "no more of those"},
    {"POST", "/drain", post_drain, "stop taking new work"},
    {"POST", "/log-level", post_log_level, "?level=debug|info|warn|error"},
};

void get_index(const Call& call) {
  std::string list;
  for (const Route& route : kRoutes) {
    std::string line{route.method};
    line.resize(7, ' ');
    line += route.path;
    line.resize(std::max<std::size_t>(line.size() + 1, 38), ' ');
    list += line + std::string{route.text} + '\n';
  }
  call.done(text(std::move(list)));
}

/// What stands in the segment that a route leaves open, empty for a route that leaves none; nullopt: another route.
std::optional<std::string_view> match(const Route& route, std::string_view path) {
  const std::size_t open = route.path.find('{');
  if (open == std::string_view::npos) return path == route.path ? std::optional{std::string_view{}} : std::nullopt;
  const std::string_view before = route.path.substr(0, open);
  const std::string_view after = route.path.substr(route.path.find('}') + 1);
  const bool fits = path.size() > before.size() + after.size() && path.starts_with(before) && path.ends_with(after);
  if (!fits) return std::nullopt;
  const std::string_view named = path.substr(before.size(), path.size() - before.size() - after.size());
  return named.find('/') == std::string_view::npos ? std::optional{named} : std::nullopt;
}

// ---- who may call -----------------------------------------------------------------------------

/// The name or address in `host`, without its port and brackets.
std::string_view without_port(std::string_view host) {
  if (host.starts_with('[')) {
    const std::size_t end = host.find(']');
    return end == std::string_view::npos ? std::string_view{} : host.substr(1, end - 1);
  }
  const std::size_t colon = host.find(':');
  const bool one_colon = colon == host.rfind(':');
  return one_colon ? host.substr(0, colon) : host;
}

bool is_address(std::string_view name) {
  const std::string terminated{name};
  in6_addr ignored{};
  return inet_pton(AF_INET, terminated.c_str(), &ignored) == 1 ||
         inet_pton(AF_INET6, terminated.c_str(), &ignored) == 1;
}

/// Whether the page that made a browser send this came from here.
bool own_origin(std::string_view origin, std::string_view host) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (origin.starts_with(scheme)) return iequals(origin.substr(scheme.size()), host);
  }
  return false;
}

}  // namespace

AdminResponse admin_error(unsigned status, std::string_view message) {
  return json(object([&](JsonWriter& writer) {
                writer.key("status").number(static_cast<std::int64_t>(status));
                writer.key("error").string(message);
              }),
              status);
}

bool host_allowed(std::string_view host, std::span<const std::string> allowed_hosts) {
  const std::string_view name = without_port(host);
  if (name.empty()) return false;
  if (iequals(name, "localhost") || is_address(name)) return true;
  return std::ranges::any_of(
      allowed_hosts, [&](const std::string& allowed) { return iequals(name, allowed) || iequals(host, allowed); });
}

void answer(const AdminRequest& request, std::span<const std::string> allowed_hosts, AdminBackend& backend,
            AdminDone done) {
  if (!host_allowed(request.host, allowed_hosts)) return done(admin_error(403, "Host is not an allowed name"));
  std::string_view query = request.target;
  const std::string_view path = take_until(query, '?');
  // Of an answer to HEAD the server leaves the body out.
  const std::string_view method = request.method == "HEAD" ? "GET" : request.method;
  const Route* route = nullptr;
  std::string allow;
  for (const Route& each : kRoutes) {
    if (!match(each, path)) continue;
    allow += (allow.empty() ? "" : ", ") + std::string{each.method == "GET" ? "GET, HEAD" : each.method};
    if (each.method == method) route = &each;
  }
  if (allow.empty()) return done(admin_error(404, "no such call; GET / lists them"));
  if (route == nullptr) {
    AdminResponse refusal = admin_error(405, "the call takes another method");
    refusal.allow = std::move(allow);
    return done(std::move(refusal));
  }
  const bool changes = route->method != "GET";
  if (changes && !request.origin.empty() && !own_origin(request.origin, request.host)) {
    return done(admin_error(403, "Origin is foreign"));
  }
  const std::string named = decoded(*match(*route, path));
  route->answer({named, query, request.body, backend, done});
}

}  // namespace outrigger::admin
