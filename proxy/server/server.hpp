// proxy/server/server.hpp
//
// The process: starts the workers, answers the admin API, reloads, drains. All of it runs on the control thread with a
// loop of its own, which may be slow because it owns no request. What it needs from workers it posts to them.
//
// Life: load -> listen -> ready -> (reload)* -> drain: readiness fails, a delay during which everything is served as
// before, then no new connections (local ones go on while anything is under way), `Connection: close`, a time of grace,
// and the rest is cut -> gone. A second signal ends it at once.
//
// Threads: everything on the thread that calls `run`.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "proxy/admin/admin_backend.hpp"
#include "proxy/admin/admin_server.hpp"
#include "proxy/config/load.hpp"
#include "proxy/config/snapshot.hpp"
#include "proxy/net/asio.hpp"
#include "proxy/net/socket_file.hpp"
#include "proxy/server/cache_memory.hpp"
#include "proxy/server/health_checks.hpp"
#include "proxy/server/mailbox_wakeups.hpp"
#include "proxy/server/memory_return.hpp"
#include "proxy/server/names.hpp"
#include "proxy/server/upstream_views.hpp"
#include "proxy/server/worker.hpp"
#include "proxy/telemetry/log.hpp"
#include "proxy/telemetry/prometheus_export.hpp"

namespace outrigger::server {

struct ServerOptions {
  std::string config_file;
  std::optional<std::string> log_level;  // overrides the file's
  bool allow_chaos = false;              // one of the two switches of faults on purpose
  /// Called with the ready line (JSON) once everything listens.
  std::function<void(const std::string&)> ready;
};

class Server final : private admin::AdminBackend {
 public:
  Server(config::Config config, ServerOptions options);
  ~Server() override;

  /// Serves until told to stop by a signal; returns the exit code.
  /// Errors: what could not be opened goes to standard error, and the code is 1.
  int run();

 private:
  enum class Stage : std::uint8_t { starting, serving, draining, closing, stopped };

  // admin::AdminBackend
  std::span<const std::string> allowed_hosts() override { return snapshot_->config.admin.allowed_hosts; }
  void call_failed(std::string_view target, std::string_view why) override;
  std::optional<std::string> unready_reason() override;
  std::string metrics_text() override { return export_->text(); }
  std::string config_json() override;
  std::string budgets_json() override;
  std::string circuits_json() override;
  std::string rate_limits_json() override;
  std::string bulkheads_json() override;
  std::string adaptive_limits_json() override;
  std::string adaptive_throttles_json() override;
  std::string upstreams_json() override;
  std::string policies_json() override;
  std::optional<std::string> policy_json(std::string_view key) override;
  std::string validate(std::string_view yaml) override;
  void timelines(const telemetry::TimelineFilter& filter, std::size_t limit,
                 std::function<void(std::vector<std::string>)> done) override;
  void timeline(const std::string& request_id, std::function<void(std::optional<std::string>)> done) override;
  void reload(std::function<void(admin::ReloadResult)> done) override;
  std::optional<std::string> command_circuit(std::string_view name, admin::CircuitCommand command) override;
  void drain() override { begin_drain(false, false); }
  void order_chaos(std::string_view policy, std::string_view yaml, Nanos ttl,
                   std::function<void(admin::ChaosResult)> done) override;
  void end_chaos(std::string_view policy, std::function<void(admin::ChaosResult)> done) override;
  bool set_log_level(std::string_view level) override;

  bool open_listeners();
  bool open_admin();
  void make_workers();
  void reserve_descriptors();
  void make_export();
  std::shared_ptr<const config::Snapshot> build(config::Config config, config::ChaosOrders orders,
                                                std::uint64_t generation, std::vector<std::string>& errors);
  void publish(std::shared_ptr<const config::Snapshot> next, config::ChaosOrders orders,
               std::function<void(std::uint64_t)> done);
  std::vector<std::string> unchangeable(const config::Config& next) const;
  using ReloadDone = std::function<void(admin::ReloadResult)>;
  void begin_reload();
  void end_reload(config::Config next, std::shared_ptr<const net::TlsContexts> tls, std::vector<std::string> warnings);
  void refuse_reload(std::vector<std::string> errors, std::vector<std::string> warnings);
  ReloadDone next_reload();
  void names_changed();
  std::string ready_line() const;
  void watch_signals();
  void on_signal(int signal);

  void ask(Worker& worker, std::function<void()> task);

  // Faults on purpose (server_chaos.cpp).
  std::string why_no_chaos() const;
  void put_in_force(config::ChaosOrders orders, std::function<void(std::uint64_t)> done);
  void watch_chaos();
  void log_chaos();
  nlohmann::ordered_json effective_config() const;

  void tick_states();
  void watch_memory();
  void begin_drain(bool at_once, bool then_exit);
  void close_listeners();
  void on_all_workers(const std::function<void(Worker&)>& task, const std::function<void()>& done);
  void wait_for_quiet();
  void poll_for_quiet();
  void stop_workers();
  std::size_t in_flight() const;
  std::int64_t connections() const;

  const ServerOptions options_;
  config::Config first_config_;
  const std::string instance_;
  const std::uint32_t worker_count_;
  net::IoContext io_;
  net::ProcessState process_;
  std::deque<std::atomic<std::int64_t>> listener_connections_;
  net::BufferAccount account_;
  telemetry::MetricRegistry metrics_;
  telemetry::Log log_;
  MailboxWakeups wakeups_{workers_};
  CacheMemory cache_memory_{account_};
  config::StateRegistry registry_;
  Names names_;
  HealthChecks health_checks_;
  EndpointWatch watch_{log_.control()};
  std::shared_ptr<const config::Snapshot> snapshot_;
  std::shared_ptr<const net::TlsContexts> tls_;  // of the snapshot's configuration
  config::ChaosOrders chaos_orders_;
  std::deque<ReloadDone> reloads_;  // asked for and not decided; one is under way, the others have their turn after it
  Worker::Workers workers_;
  std::vector<std::string> listening_;  // the addresses that were bound, by listener
  std::vector<net::SocketFile> socket_files_;
  std::unique_ptr<telemetry::PrometheusExport> export_;
  std::unique_ptr<admin::AdminServer> admin_;
  struct Signals;
  std::unique_ptr<Signals> signals_;
  net::SteadyTimer timer_;
  net::SteadyTimer clock_;        // of circuits
  net::SteadyTimer chaos_clock_;  // of ordered faults
  net::SteadyTimer memory_clock_;
  MemoryReturn memory_;
  Rng rng_{net::entropy()};

  Stage stage_ = Stage::starting;
  bool exit_when_drained_ = false;
  std::vector<std::string> last_errors_;
  telemetry::ConfigLevels config_levels_;
  TimePoint grace_ends_ = kNever;
};

}  // namespace outrigger::server
