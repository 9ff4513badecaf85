#include "proxy/server/server.hpp"

#include <malloc.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <limits>
#include <map>
#include <utility>

#include <boost/asio/signal_set.hpp>
#include <nlohmann/json.hpp>

#include "proxy/config/check.hpp"
#include "proxy/config/dump.hpp"
#include "proxy/net/clock.hpp"
#include "proxy/net/exchange_driver.hpp"
#include "proxy/net/socket_address.hpp"
#include "proxy/server/chaos_orders.hpp"
#include "proxy/server/cpus.hpp"
#include "proxy/server/state_views.hpp"
#include "proxy/server/version.hpp"
#include "proxy/telemetry/timeline_json.hpp"

namespace outrigger::server {
namespace {

using nlohmann::ordered_json;

constexpr Nanos kQuietPoll = std::chrono::milliseconds{20};
constexpr Nanos kStateTick = std::chrono::milliseconds{10};
constexpr Nanos kMemoryTick = std::chrono::seconds{2};

std::string make_instance(const config::Config& config) {
  if (config.instance) return *config.instance;
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "outrigger-%08x", static_cast<unsigned>(net::entropy()));
  return text.data();
}

telemetry::LogLevel level_of(config::LogLevel level) noexcept {
  switch (level) {
    case config::LogLevel::debug: return telemetry::LogLevel::debug;
    case config::LogLevel::info: return telemetry::LogLevel::info;
    case config::LogLevel::warn: return telemetry::LogLevel::warn;
    default: return telemetry::LogLevel::error;
  }
}

telemetry::LogConfig log_config(const config::Config& config, const ServerOptions& options) {
  const config::TelemetryConfig& telemetry = config.telemetry;
  telemetry::LogConfig log;
  log.level = level_of(telemetry.log.level);
  if (options.log_level) log.level = telemetry::parse_log_level(*options.log_level).value_or(log.level);
  log.format =
      telemetry.log.format == config::LogFormat::json ? telemetry::LogFormat::json : telemetry::LogFormat::text;
  log.file = telemetry.log.file;
  log.access_file = telemetry.access_log.file;
  return log;
}

std::vector<net::SocketAddress> addresses_of(const config::HostPort& address) {
  if (address.path.empty()) return net::resolve(address.host, address.port);
  return {*net::parse_address(config::to_string(address))};
}

std::shared_ptr<const net::TlsContexts> build_tls(const config::Config& config, std::vector<std::string>& errors) {
  config::Diagnostics wrong;
  auto contexts = net::build_tls(config, wrong);
  for (const config::Diagnostic& diagnostic : wrong) errors.push_back(config::to_string(diagnostic));
  return contexts;
}

std::vector<telemetry::CertificateLevels> expiries(const config::Config& config, const net::TlsContexts& tls) {
  std::vector<telemetry::CertificateLevels> levels;
  const auto add = [&levels](const net::TlsContext* context, std::string listener, std::string upstream) {
    if (context == nullptr || !context->expires()) return;
    levels.push_back({std::move(listener), std::move(upstream), static_cast<double>(*context->expires())});
  };
  for (std::size_t i = 0; i < config.listeners.size(); ++i) add(tls.listeners[i].get(), config.listeners[i].name, "");
  for (std::size_t i = 0; i < config.upstreams.size(); ++i) add(tls.upstreams[i].get(), "", config.upstreams[i].name);
  return levels;
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

/// How many clients there are descriptors for, once all that the process itself needs is open: each of them may need a
/// second one for its upstream.
std::int64_t affordable_connections(std::uint32_t workers) {
  rlimit limit{};
  const int lowest_free = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (lowest_free >= 0) ::close(lowest_free);
  if (lowest_free < 0 || ::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
    return std::numeric_limits<std::int64_t>::max();
  }
  // What comes and goes: the admin API, name lookups, health checks; and what workers open where TLS is spoken.
  const std::int64_t own = lowest_free + 8 + 2 * std::int64_t{workers};
  return std::max<std::int64_t>((static_cast<std::int64_t>(limit.rlim_cur) - own) / 2, 1);
}

}  // namespace

struct Server::Signals {
  explicit Signals(net::IoContext& io) : set(io, SIGTERM, SIGINT, SIGHUP) { set.add(SIGUSR1); }
  net::asio::signal_set set;
};

Server::Server(config::Config config, ServerOptions options)
    : options_(std::move(options)),
      first_config_(std::move(config)),
      instance_(make_instance(first_config_)),
      worker_count_(first_config_.workers.value_or(usable_cpus())),
      account_(first_config_.buffer_memory_bytes),
      metrics_(worker_count_, first_config_.telemetry.histogram_buckets_s),
      log_(log_config(first_config_, options_), worker_count_, &net::wall_now_us),
      registry_(worker_count_, {wakeups_, cache_memory_, &net::entropy}),
      names_(io_, &system_lookup, log_.control(), [this] { names_changed(); }),
      health_checks_(io_, log_.control(), net::entropy()),
      timer_(io_.get_executor()),
      clock_(io_.get_executor()),
      chaos_clock_(io_.get_executor()),
      memory_clock_(io_.get_executor()) {}

Server::~Server() = default;

int Server::run() {
  std::signal(SIGPIPE, SIG_IGN);
  raise_descriptor_limit();
  if (const auto error = log_.open()) {
    std::cerr << "outrigger: " << *error << '\n';
    return 1;
  }
  watch_signals();
  std::vector<std::string> errors;
  tls_ = build_tls(first_config_, errors);
  if (tls_) {
    names_.learn_now(first_config_);
    snapshot_ = build(first_config_, {}, 1, errors);
    if (snapshot_) config::take_effect(*snapshot_, net::steady_now());
  }
  if (!snapshot_) {
    for (const std::string& error : errors) std::cerr << "outrigger: " << error << '\n';
    return 1;
  }
  config_levels_ = {.generation = snapshot_->generation,
                    .last_reload_unix_seconds = static_cast<double>(net::wall_now_us()) / 1e6};
  make_workers();
  if (!open_listeners()) return 1;
  make_export();
  if (!open_admin()) return 1;
  log_.start();
  reserve_descriptors();
  for (auto& worker : workers_) {
    worker->use(snapshot_, tls_);
    worker->start();
  }
  stage_ = Stage::serving;
  health_checks_.follow(*snapshot_, *tls_);
  tick_states();
  watch_memory();
  const std::string ready = ready_line();
  log_.control().write(telemetry::LogLevel::info, "ready",
                       {{"version", kVersion}, {"instance", instance_}, {"workers", std::int64_t{worker_count_}}});
  log_chaos();
  if (options_.ready) options_.ready(ready);
  io_.run();
  admin_->stop();
  log_.control().write(telemetry::LogLevel::info, "stopped");
  log_.stop();
  return 0;
}

// ---- starting ---------------------------------------------------------------------------------

void Server::make_workers() {
  for (std::uint32_t i = 0; i < worker_count_; ++i) {
    workers_.push_back(
        std::make_unique<Worker>(Worker::Setup{.index = i,
                                               .seed = net::entropy(),
                                               .all = &workers_,
                                               .process = &process_,
                                               .account = &account_,
                                               .metrics = &metrics_,
                                               .log = &log_,
                                               .keep_timelines = first_config_.telemetry.timelines.keep,
                                               .sample_timelines = first_config_.telemetry.timelines.sample}));
  }
}

bool Server::open_listeners() {
  for (std::size_t i = 0; i < first_config_.listeners.size(); ++i) {
    const config::ListenerConfig& listener = first_config_.listeners[i];
    const auto addresses = addresses_of(listener.listen);
    std::string error = config::to_string(listener.listen) + ": the address does not resolve";
    std::vector<int> descriptors;
    if (!addresses.empty()) descriptors = net::open_listeners(addresses.front(), worker_count_, error);
    if (descriptors.empty()) {
      std::cerr << "outrigger: listener " << listener.name << ": cannot listen on " << error << '\n';
      return false;
    }
    const bool local = addresses.front().is_local();
    if (!listener.listen.path.empty()) socket_files_.emplace_back(listener.listen.path);
    std::atomic<std::int64_t>& connections = listener_connections_.emplace_back(0);
    for (std::uint32_t w = 0; w < worker_count_; ++w) {
      workers_[w]->listen(w < descriptors.size() ? descriptors[w] : -1, {.index = i,
                                                                         .name = registry_.intern(listener.name),
                                                                         .row = metrics_.listener_row(w, listener.name),
                                                                         .connections = &connections,
                                                                         .local = local,
                                                                         .alone = descriptors.size() < worker_count_});
    }
    listening_.push_back(net::bound_address(descriptors.front()).text);
  }
  return true;
}

bool Server::open_admin() {
  const config::AdminConfig& admin = first_config_.admin;
  admin::AdminBackend& backend = *this;
  admin_ = std::make_unique<admin::AdminServer>(
      io_, backend, admin::AdminOptions{.address = admin.listen.host, .port = admin.listen.port});
  const auto error = admin_->start();
  if (error)
    std::cerr << "outrigger: admin: cannot listen on " << config::to_string(admin.listen) << ": " << *error << '\n';
  return !error;
}

/// Clients may hold no more descriptors than leave as many for upstreams: else those who wait for nothing could keep
/// those who ask from being served.
void Server::reserve_descriptors() {
  process_.most_connections = affordable_connections(worker_count_);
  if (process_.most_connections >= std::int64_t{first_config_.limits.max_connections}) return;
  log_.control().write(telemetry::LogLevel::info, "the limit of open files allows fewer connections than the limits do",
                       {{"connections", process_.most_connections},
                        {"max_connections", std::int64_t{first_config_.limits.max_connections}}});
}

void Server::make_export() {
  telemetry::GaugeSources sources;
  sources.version = kVersion;
  sources.budgets = [this] {
    std::vector<telemetry::BudgetLevels> levels;
    for (const auto& [name, budget] : snapshot_->budgets) {
      if (budget.shadow) continue;
      levels.push_back({.name = name,
                        .available = budget.state->available(budget.config, net::steady_now()),
                        .requests_in_flight = budget.state->requests_in_flight(),
                        .extras_in_flight = budget.state->extras_in_flight(),
                        .hedges_in_flight = budget.state->hedges_in_flight()});
    }
    return levels;
  };
  sources.endpoints = [this] { return endpoint_levels(*snapshot_, net::steady_now()); };
  sources.health_checks = [this] { return health_checks_.totals(); };
  sources.certificates = [this] { return expiries(snapshot_->config, *tls_); };
  sources.upstreams = [this] { return upstream_levels(*snapshot_, net::steady_now()); };
  sources.policies = [this] { return levels_of(*snapshot_, net::steady_now()); };
  sources.buffer_bytes = [this] {
    std::vector<telemetry::KindValue> values;
    for (std::size_t i = 0; i < net::BufferAccount::kKinds; ++i) {
      values.push_back(
          {net::BufferAccount::kNames[i], static_cast<double>(account_.used(static_cast<net::BufferKind>(i)))});
    }
    return values;
  };
  sources.dropped = [this] { return std::vector<telemetry::KindValue>{{"log", static_cast<double>(log_.dropped())}}; };
  sources.draining = [this] { return stage_ >= Stage::draining; };
  sources.config = [this] { return config_levels_; };
  export_ = std::make_unique<telemetry::PrometheusExport>(metrics_, std::move(sources));
}

std::string Server::ready_line() const {
  ordered_json line{{"event", "ready"}, {"listeners", ordered_json::object()}};
  for (std::size_t i = 0; i < listening_.size(); ++i)
    line["listeners"][first_config_.listeners[i].name] = listening_[i];
  line["admin"] = admin_->endpoint();
  return config::json_text(line);
}

// ---- configuration ----------------------------------------------------------------------------

std::shared_ptr<const config::Snapshot> Server::build(config::Config config, config::ChaosOrders orders,
                                                      std::uint64_t generation, std::vector<std::string>& errors) {
  const config::Resolved resolved = names_.endpoints(config);
  auto built = config::build_snapshot(std::move(config), instance_, generation, resolved, registry_,
                                      {.allowed = options_.allow_chaos, .orders = std::move(orders)});
  if (auto* failed = std::get_if<std::vector<std::string>>(&built)) {
    errors = std::move(*failed);
    return nullptr;
  }
  return std::get<std::shared_ptr<const config::Snapshot>>(built);
}

/// What the running process cannot change: it says so instead of ignoring it.
std::vector<std::string> Server::unchangeable(const config::Config& next) const {
  std::vector<std::string> errors;
  const config::Config& now = snapshot_->config;
  const auto restart = [&errors](const std::string& path) { errors.push_back(path + ": a change needs a restart"); };
  if (next.workers != now.workers) restart("workers");
  if (next.instance != now.instance) restart("instance");
  if (next.admin.listen != now.admin.listen) restart("admin.listen");
  const auto addresses = [](const config::Config& config) {
    std::map<std::string, config::HostPort> all;
    for (const config::ListenerConfig& listener : config.listeners) all[listener.name] = listener.listen;
    return all;
  };
  if (addresses(next) != addresses(now)) restart("listeners");
  if (config::to_json(next)["telemetry"] != config::to_json(now)["telemetry"]) restart("telemetry");
  return errors;
}

/// One after the other: a reload may have to wait for the addresses of names that it brings.
void Server::reload(ReloadDone done) {
  reloads_.push_back(std::move(done));
  if (reloads_.size() == 1) begin_reload();
}

void Server::begin_reload() {
  if (stage_ == Stage::stopped) {
    return next_reload()({false, snapshot_->generation, {"draining is over: there is nothing left to reload for"}, {}});
  }
  std::vector<std::string> errors;
  std::vector<std::string> warnings;
  const auto next = std::make_shared<config::Config>();
  std::shared_ptr<const net::TlsContexts> tls;
  try {
    config::LoadResult loaded = config::load_file(options_.config_file);
    for (const config::Diagnostic& diagnostic : loaded.diagnostics) {
      (diagnostic.severity == config::Severity::error ? errors : warnings).push_back(config::to_string(diagnostic));
    }
    if (errors.empty()) errors = unchangeable(loaded.config);
    if (errors.empty()) tls = build_tls(loaded.config, errors);
    *next = std::move(loaded.config);
  } catch (const std::exception& error) {
    // Not an answer to whoever asked alone: the reloads behind this one wait for it to be decided.
    errors.emplace_back(error.what());
  }
  // Each text is a message of its own, so that many of them are not taken for one that repeats.
  for (const std::string& warning : warnings) log_.control().write(telemetry::LogLevel::warn, warning);
  if (!errors.empty()) return refuse_reload(std::move(errors), std::move(warnings));
  names_.learn(*next, [this, next, tls, warnings = std::move(warnings)]() mutable {
    end_reload(std::move(*next), tls, std::move(warnings));
  });
}

void Server::refuse_reload(std::vector<std::string> errors, std::vector<std::string> warnings) {
  config_levels_.last_reload_unix_seconds = static_cast<double>(net::wall_now_us()) / 1e6;
  config_levels_.last_reload_success = false;
  ++config_levels_.reloads_failed;
  last_errors_ = errors;
  for (const std::string& error : errors) {
    log_.control().write(telemetry::LogLevel::error, "the configuration was not reloaded", {{"error", error}});
  }
  names_.keep_only(snapshot_->config);
  next_reload()({false, snapshot_->generation, std::move(errors), std::move(warnings)});
}

void Server::end_reload(config::Config config, std::shared_ptr<const net::TlsContexts> tls,
                        std::vector<std::string> warnings) {
  if (stage_ == Stage::stopped) return refuse_reload({"the process has drained meanwhile"}, std::move(warnings));
  std::vector<std::string> errors;
  config::ChaosOrders orders = chaos_orders_;
  const std::vector<std::string> ended = drop_ended(orders, config, net::wall_now_us());
  auto next = build(std::move(config), orders, snapshot_->generation + 1, errors);
  if (!next) return refuse_reload(std::move(errors), std::move(warnings));
  config_levels_.last_reload_unix_seconds = static_cast<double>(net::wall_now_us()) / 1e6;
  config_levels_.last_reload_success = true;
  last_errors_.clear();
  ++config_levels_.reloads_succeeded;
  // Whoever reloads may know that a name has moved.
  names_.keep_only(next->config);
  names_.refresh();
  ReloadDone done = next_reload();
  if (next->content_hash == snapshot_->content_hash) {
    return done({true, snapshot_->generation, {}, std::move(warnings)});
  }
  for (const config::Renewed& renewed : config::renewed_states(*snapshot_, *next)) {
    log_.control().write(telemetry::LogLevel::info, "another structure: the state begins anew",
                         {{"kind", renewed.kind}, {"name", renewed.name}});
  }
  log_.control().write(telemetry::LogLevel::info, "reloaded",
                       {{"generation", static_cast<std::int64_t>(next->generation)}});
  for (const std::string& policy : ended) {
    log_.control().write(telemetry::LogLevel::warn, "ordered faults ended with the reload", {{"policy", policy}});
  }
  tls_ = std::move(tls);
  publish(std::move(next), std::move(orders),
          [done = std::move(done), warnings = std::move(warnings)](std::uint64_t generation) {
            done({true, generation, {}, warnings});
          });
  log_chaos();
}

/// Takes the reload that was decided off the queue; the one behind it has its turn later.
Server::ReloadDone Server::next_reload() {
  ReloadDone done = std::move(reloads_.front());
  reloads_.pop_front();
  if (!reloads_.empty()) net::asio::post(io_, [this] { begin_reload(); });
  return done;
}

/// The configuration is the same; where its requests go is not. What has not moved keeps its state and connections.
void Server::names_changed() {
  if (stage_ == Stage::stopped) return;
  std::vector<std::string> errors;
  auto next = build(snapshot_->config, chaos_orders_, snapshot_->generation, errors);
  if (next) publish(std::move(next), chaos_orders_, [](std::uint64_t) {});
}

/// Puts a snapshot in force; `done` is called with its generation once it is on every worker.
void Server::publish(std::shared_ptr<const config::Snapshot> next, config::ChaosOrders orders,
                     std::function<void(std::uint64_t)> done) {
  snapshot_ = next;
  chaos_orders_ = std::move(orders);
  config_levels_.generation = next->generation;
  account_.set_limit(next->config.buffer_memory_bytes);
  config::take_effect(*next, net::steady_now());
  health_checks_.follow(*next, *tls_);
  tick_states();
  watch_chaos();
  on_all_workers([next, tls = tls_](Worker& worker) { worker.use(next, tls); },
                 [done = std::move(done), generation = next->generation] { done(generation); });
}

/// Circuits move by the clock alone too, so that what is shown of them is true without traffic; caches give way to the
/// bodies of requests under way; who waits for a connection gets one of an endpoint that is back in service.
void Server::tick_states() {
  const TimePoint now = net::steady_now();
  watch_.look(*snapshot_, now);
  if (snapshot_->circuits.empty() && snapshot_->caches.empty() && !endpoints_come_and_go(*snapshot_)) return;
  for (const exchange::Upstream& upstream : snapshot_->upstreams) upstream.slots->offer(*upstream.endpoints, now);
  for (const auto& [name, circuit] : snapshot_->circuits) circuit.state->tick(circuit.config, now, rng_);
  std::uint64_t excess = account_.excess();
  for (const auto& [key, cache] : snapshot_->caches) {
    if (excess != 0) excess -= std::min(excess, cache.state->shed(excess));
  }
  clock_.expires_after(kStateTick);
  clock_.async_wait([this](const net::error_code& error) {
    if (!error) tick_states();
  });
}

/// After a burst its memory goes back to the system.
void Server::watch_memory() {
  if (memory_.due(connections() + process_.drivers.load(std::memory_order_relaxed))) ::malloc_trim(0);
  memory_clock_.expires_after(kMemoryTick);
  memory_clock_.async_wait([this](const net::error_code& error) {
    if (!error) watch_memory();
  });
}

// ---- signals and the end ----------------------------------------------------------------------

void Server::watch_signals() {
  signals_ = std::make_unique<Signals>(io_);
  struct Wait {
    Server* server;
    void operator()(const net::error_code& error, int signal) const {
      if (error) return;
      server->on_signal(signal);
      server->signals_->set.async_wait(*this);
    }
  };
  signals_->set.async_wait(Wait{this});
}

void Server::on_signal(int signal) {
  if (signal == SIGHUP) return reload([](const admin::ReloadResult&) {});
  if (signal == SIGUSR1) return log_.reopen();
  if (exit_when_drained_) {
    socket_files_.clear();  // nothing else is cleared up
    std::_Exit(128 + signal);
  }
  begin_drain(signal == SIGINT, true);
}

void Server::begin_drain(bool at_once, bool then_exit) {
  exit_when_drained_ |= then_exit;
  if (stage_ == Stage::stopped) return io_.stop();
  if (stage_ == Stage::serving) {
    stage_ = Stage::draining;
    log_.control().write(telemetry::LogLevel::info, "draining");
  } else if (stage_ != Stage::draining || !at_once) {
    return;
  }
  const Nanos delay = at_once ? Nanos{0} : snapshot_->config.drain.delay;
  timer_.expires_after(delay);
  timer_.async_wait([this](const net::error_code& error) {
    if (!error) close_listeners();
  });
}

void Server::close_listeners() {
  stage_ = Stage::closing;
  process_.draining.store(true, std::memory_order_relaxed);
  grace_ends_ = saturating_add(net::steady_now(), snapshot_->config.drain.grace);
  // Whoever has connected before is served: only what all workers have taken over can be quiet.
  on_all_workers([](Worker& worker) { worker.drain(); }, [this] { wait_for_quiet(); });
}

/// Runs a task on every worker's thread, and then tells it here.
void Server::on_all_workers(const std::function<void(Worker&)>& task, const std::function<void()>& done) {
  auto waiting = std::make_shared<std::size_t>(workers_.size());
  for (auto& worker : workers_) {
    worker->post([this, w = worker.get(), waiting, task, done] {
      task(*w);
      net::asio::post(io_, [waiting, done] {
        if (--*waiting == 0) done();
      });
    });
  }
}

/// Handshakes under way count, and so do connections on their way from one worker to another.
std::int64_t Server::connections() const {
  // A handshake leaves this count only after its connection has got into a worker's.
  const std::int64_t counted = process_.downstream_connections.load(std::memory_order_acquire);
  std::int64_t sum = 0;
  for (const auto& worker : workers_) sum += worker->connections();
  return std::max(counted, sum);
}

std::size_t Server::in_flight() const {
  std::size_t sum = 0;
  for (const auto& worker : workers_) sum += worker->in_flight();
  return sum;
}

void Server::wait_for_quiet() {
  if (net::steady_now() < grace_ends_ && in_flight() != 0) return poll_for_quiet();
  socket_files_.clear();
  // Here, too: those who had come to a listener that closes only now have their answer first.
  on_all_workers([](Worker& worker) { worker.stop_listening(); },
                 [this] {
                   const bool quiet = connections() == 0 || net::steady_now() >= grace_ends_;
                   quiet ? stop_workers() : poll_for_quiet();
                 });
}

void Server::poll_for_quiet() {
  timer_.expires_after(kQuietPoll);
  timer_.async_wait([this](const net::error_code& error) {
    if (!error) wait_for_quiet();
  });
}

void Server::stop_workers() {
  if (const std::size_t cut = in_flight(); cut != 0) {
    log_.control().write(telemetry::LogLevel::warn, "requests were cut at the end of the grace period",
                         {{"count", static_cast<std::int64_t>(cut)}});
  }
  for (auto& worker : workers_) worker->post([w = worker.get()] { w->stop(); });
  for (auto& worker : workers_) worker->join();
  for (auto& worker : workers_) worker->read_last_mail();
  stage_ = Stage::stopped;
  health_checks_.stop();
  if (exit_when_drained_) io_.stop();
}

// ---- the admin API ----------------------------------------------------------------------------

std::optional<std::string> Server::unready_reason() {
  if (stage_ == Stage::serving) return std::nullopt;
  return stage_ == Stage::starting ? "starting" : "draining";
}

void Server::call_failed(std::string_view target, std::string_view why) {
  log_.control().write(telemetry::LogLevel::error, "a call of the admin API failed",
                       {{"call", target}, {"error", why}});
}

std::string Server::config_json() {
  ordered_json document{{"generation", snapshot_->generation},
                        {"hash", snapshot_->content_hash},
                        {"source", options_.config_file},
                        {"files", snapshot_->config.files},
                        {"last_reload_success", config_levels_.last_reload_success},
                        {"last_errors", last_errors_},
                        {"instance", instance_},
                        {"workers", worker_count_},
                        {"config", effective_config()}};
  return config::json_text(document, 2);
}

namespace {

std::string only(const char* name, ordered_json list) {
  return config::json_text(ordered_json{{name, std::move(list)}});
}

}  // namespace

std::string Server::budgets_json() { return only("budgets", view_budgets(*snapshot_, net::steady_now())); }
std::string Server::circuits_json() { return only("circuits", view_circuits(*snapshot_, net::steady_now())); }
std::string Server::rate_limits_json() { return only("rate_limits", view_rate_limits(*snapshot_, net::steady_now())); }
std::string Server::bulkheads_json() { return only("bulkheads", view_bulkheads(*snapshot_)); }
std::string Server::adaptive_limits_json() { return only("adaptive_limits", view_adaptive_limits(*snapshot_)); }
std::string Server::adaptive_throttles_json() {
  return only("adaptive_throttles", view_adaptive_throttles(*snapshot_, net::steady_now()));
}

std::optional<std::string> Server::command_circuit(std::string_view name, admin::CircuitCommand command) {
  if (!command_circuits(*snapshot_, name, command)) return std::nullopt;
  constexpr std::array<std::string_view, 4> kCommands = {"reset", "force_open", "force_close", "auto"};
  log_.control().write(telemetry::LogLevel::warn, "a circuit was commanded",
                       {{"circuit", name}, {"command", kCommands[static_cast<std::size_t>(command)]}});
  ordered_json of_name = ordered_json::array();
  for (ordered_json& circuit : view_circuits(*snapshot_, net::steady_now())) {
    if (circuit["name"] == name) of_name.push_back(std::move(circuit));
  }
  return only("circuits", std::move(of_name));
}

std::string Server::upstreams_json() {
  ordered_json list = view_upstreams(*snapshot_, net::steady_now());
  for (ordered_json& upstream : list) {
    std::int64_t active = 0;
    std::int64_t idle = 0;
    for (std::uint32_t worker = 0; worker < worker_count_; ++worker) {
      const telemetry::UpstreamRow& row = *metrics_.upstream_row(worker, upstream["name"].get<std::string>());
      active += row.active.value();
      idle += row.idle.value();
    }
    upstream["connections"] = {{"active", active}, {"idle", idle}};
  }
  return only("upstreams", std::move(list));
}

std::string Server::policies_json() {
  const ordered_json all = effective_config()["policies"];
  ordered_json list = ordered_json::array();
  for (auto& [key, shown] : all.items()) {
    ordered_json policy = shown;
    policy["key"] = key;
    policy["state"] = view_policy(*snapshot_, key, net::steady_now());
    list.push_back(std::move(policy));
  }
  return only("policies", std::move(list));
}

std::optional<std::string> Server::policy_json(std::string_view key) {
  const ordered_json all = effective_config()["policies"];
  const auto found = all.find(std::string(key));
  if (found == all.end()) return std::nullopt;
  ordered_json policy = *found;
  policy["key"] = key;
  policy["state"] = view_policy(*snapshot_, key, net::steady_now());
  return config::json_text(policy);
}

std::string Server::validate(std::string_view yaml) {
  config::LoadResult loaded = config::load_text(yaml, "body");
  if (loaded.ok()) std::ranges::move(net::check_tls(loaded.config), std::back_inserter(loaded.diagnostics));
  ordered_json errors = ordered_json::array();
  ordered_json warnings = ordered_json::array();
  for (const config::Diagnostic& diagnostic : loaded.diagnostics) {
    (diagnostic.severity == config::Severity::error ? errors : warnings).push_back(config::to_string(diagnostic));
  }
  return config::json_text(
      ordered_json{{"valid", loaded.ok()}, {"errors", std::move(errors)}, {"warnings", std::move(warnings)}});
}

namespace {

std::string to_json_text(const telemetry::StoredTimeline& stored) {
  exchange::Timeline timeline;
  stored.restore(timeline);
  return telemetry::timeline_json(timeline);
}

}  // namespace

/// Runs a task that looks at what belongs to a worker: on its thread, or here once that has ended.
void Server::ask(Worker& worker, std::function<void()> task) {
  if (stage_ == Stage::stopped) return task();
  worker.post(std::move(task));
}

void Server::timelines(const telemetry::TimelineFilter& filter, std::size_t limit,
                       std::function<void(std::vector<std::string>)> done) {
  struct Gathering {
    std::size_t waiting;
    std::vector<telemetry::StoredTimeline> found;
  };
  auto gathering = std::make_shared<Gathering>(Gathering{workers_.size(), {}});
  for (auto& worker : workers_) {
    ask(*worker, [this, w = worker.get(), gathering, filter, limit, done] {
      auto found = std::make_shared<std::vector<telemetry::StoredTimeline>>(w->timelines().collect(filter, limit));
      net::asio::post(io_, [gathering, found, limit, done] {
        std::ranges::move(*found, std::back_inserter(gathering->found));
        if (--gathering->waiting != 0) return;
        std::ranges::stable_sort(gathering->found, std::ranges::greater{}, &telemetry::StoredTimeline::wall_start_us);
        std::vector<std::string> texts;
        for (const auto& stored : gathering->found) {
          if (texts.size() == limit) break;
          texts.push_back(to_json_text(stored));
        }
        done(std::move(texts));
      });
    });
  }
}

void Server::timeline(const std::string& request_id, std::function<void(std::optional<std::string>)> done) {
  struct Gathering {
    std::size_t waiting;
    std::optional<telemetry::StoredTimeline> newest;
  };
  auto gathering = std::make_shared<Gathering>(Gathering{workers_.size(), std::nullopt});
  for (auto& worker : workers_) {
    ask(*worker, [this, w = worker.get(), gathering, request_id, done] {
      auto found = std::make_shared<std::optional<telemetry::StoredTimeline>>(w->timelines().find(request_id));
      net::asio::post(io_, [gathering, found, done] {
        auto& newest = gathering->newest;
        if (*found && (!newest || newest->wall_start_us() < (*found)->wall_start_us())) newest = std::move(*found);
        if (--gathering->waiting != 0) return;
        done(newest ? std::optional{to_json_text(*newest)} : std::nullopt);
      });
    });
  }
}

bool Server::set_log_level(std::string_view level) {
  const auto parsed = telemetry::parse_log_level(level);
  if (parsed) log_.set_level(*parsed);
  return parsed.has_value();
}

}  // namespace outrigger::server
