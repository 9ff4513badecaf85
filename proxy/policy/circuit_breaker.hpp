// proxy/policy/circuit_breaker.hpp
//
// Stops sending to what has been failing, and finds out by a few probes when it works again. Without it every request
// pays the full timeout for an answer that is known beforehand, and the failing side never gets the pause it needs.
//
//   closed     admits everything; results feed the trip rule: failures in a row, or the rate of failures over a window
//              of time or of calls; either may add the rate of slow calls. Asked after each failed or slow call, `>=`.
//   open       refuses until the cooldown is over. Each re-opening multiplies it, up to a bound; jitter keeps the
//              probes of many instances apart.
//   half-open  admits `max_probes` at once. `successes` of them close it, one failure opens it again. A neutral result
//              gives the probe back. A probe that has no result in `probe_timeout` failed, whether or not anybody asks.
//   forced     open or closed by an operator: nothing is learnt until it is automatic again, which begins with probes
//              after a forced opening and with empty windows after a forced closing.
//
// A slow call that was a probe is a failed probe: a circuit that was opened by slowness would otherwise close on it.
//
// Source: Nygard, "Release It!" (2007); rates and half-open permits as in failsafe-go, resile and resilience4j. Unlike
// those: every state has a generation, and a result is dropped unless its permit is of the current one, so a late
// success closes nothing and a late failure opens nothing; a permit is a value whose destruction gives the probe back,
// so no probe is lost; the windows slide by themselves (outcome_window.hpp); and the clock alone moves an open circuit
// to half-open (`tick`), so what is displayed is true without traffic.
//
// One word holds the state, its generation and its numbers, so each decision is one load or one compare-and-swap:
//
//   state:3 | generation:21 | closed: failures in a row:40, open: end of the cooldown in ms:40,
//                             half-open: probes out:20, successes:20
//
// Times inside are whole milliseconds, rounded up. A stale result could be mistaken for a current one only after
// exactly 2,097,152 transitions. How often it was re-opened is not part of the word: it is written just after the
// transition it belongs to, and read a cooldown later.
//
// Threads: any, lock-free, never more than `max_probes` out. Cost: one load to be admitted by a closed circuit; a
// success that follows a success only loads (in a row), or adds to its window.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "proxy/base/cache_line.hpp"
#include "proxy/base/rng.hpp"
#include "proxy/base/time.hpp"
#include "proxy/base/verdict.hpp"
#include "proxy/policy/counts.hpp"
#include "proxy/policy/outcome_window.hpp"
#include "proxy/policy/reason_set.hpp"
#include "proxy/policy/status_set.hpp"

namespace outrigger::policy {

/// How far one circuit reaches: the name (or the policy, if inline), or one per upstream or endpoint of it.
enum class CircuitScope : std::uint8_t { key, upstream, endpoint };

struct SlowCallConfig {
  Nanos threshold{};
  double rate = 0.5;
};

struct CircuitConfig {
  enum class Trip : std::uint8_t { consecutive, rate_by_time, rate_by_calls };

  Trip trip = Trip::consecutive;
  std::uint32_t consecutive_failures = 5;
  double failure_rate = 0.5;
  std::uint32_t minimum_calls = 10;         // of both rates
  Nanos window = std::chrono::seconds{30};  // also of slow calls beside consecutive failures
  std::uint32_t window_calls = 100;         // 1..CallWindow::kMaxCalls
  std::optional<SlowCallConfig> slow_call;
  Nanos cooldown = std::chrono::seconds{10};
  double cooldown_jitter = 0.1;
  double cooldown_multiplier = 1;
  Nanos max_cooldown = std::chrono::minutes{5};
  std::uint32_t max_probes = 1;  // 1..CircuitBreaker::kMaxProbes
  std::uint32_t successes = 1;
  Nanos probe_timeout{0};  // 0: the larger of the cooldown and the attempt's own time limit
  CircuitScope scope = CircuitScope::key;
  Counts counts = Counts::attempt;
  ReasonSet failure_reasons{
      Reason::connect_refused, Reason::connect_error,  Reason::connect_timeout,        Reason::dns_failure,
      Reason::tls_failure,     Reason::reset,          Reason::closed_early,           Reason::attempt_timeout,
      Reason::overall_timeout, Reason::protocol_error, Reason::response_head_too_large};
  StatusSet failure_statuses{};  // filled in by the loader: 500, 502-504
};

/// Whether a state made for `was` may go on under `now`. Numbers may change, an open circuit stays open; another scope,
/// another thing counted, or a window of calls instead of time (and back) is another circuit.
bool same_structure(const CircuitConfig& was, const CircuitConfig& now) noexcept;

enum class CircuitState : std::uint8_t { closed, half_open, open };  // the values of the metric
enum class CircuitForce : std::uint8_t { none, open, closed };
enum class CircuitResult : std::uint8_t { success, failure, neutral };

constexpr std::string_view to_string(CircuitState state) noexcept {
  constexpr std::string_view kNames[] = {"closed", "half_open", "open"};
  return kNames[static_cast<std::size_t>(state)];
}

/// What a response head means to a circuit. A client's mistake is a success of the upstream; 408, 425, 429 and the 5xx
/// that are not listed say nothing.
CircuitResult circuit_result(const CircuitConfig& config, std::uint16_t status) noexcept;
/// The same for an attempt that ended without one. Whether a deadline that passed is the upstream's fault is the
/// caller's to know.
CircuitResult circuit_result(const CircuitConfig& config, Reason fault) noexcept;

class CircuitBreaker;

/// One admitted call. Destroyed without being settled it is neutral.
class CircuitPermit {
 public:
  CircuitPermit() noexcept = default;
  CircuitPermit(CircuitPermit&& other) noexcept
      : breaker_(std::exchange(other.breaker_, nullptr)),
        generation_(other.generation_),
        slot_(other.slot_),
        claim_(other.claim_) {}
  CircuitPermit& operator=(CircuitPermit&& other) noexcept {
    if (this != &other) {
      release();
      breaker_ = std::exchange(other.breaker_, nullptr);
      generation_ = other.generation_;
      slot_ = other.slot_;
      claim_ = other.claim_;
    }
    return *this;
  }
  ~CircuitPermit() { release(); }

  explicit operator bool() const noexcept { return breaker_ != nullptr; }
  bool probe() const noexcept { return breaker_ != nullptr && slot_ != kNoProbe; }

  /// Reports the result once; later calls do nothing. `took`: how long the upstream was waited for.
  void settle(const CircuitConfig& config, CircuitResult result, Nanos took, TimePoint now, Rng& rng) noexcept;
  /// Gives it back; nothing is learned.
  void release() noexcept;

 private:
  friend class CircuitBreaker;
  static constexpr std::uint32_t kNoProbe = ~0u;

  CircuitPermit(CircuitBreaker& breaker, std::uint32_t generation) noexcept
      : breaker_(&breaker), generation_(generation) {}

  CircuitBreaker* breaker_ = nullptr;
  std::uint32_t generation_ = 0;
  std::uint32_t slot_ = kNoProbe;
  std::uint64_t claim_ = 0;  // what this probe wrote into its slot
};

struct CircuitAnswer {
  Verdict verdict;
  CircuitPermit permit;
};

class CircuitBreaker {
 public:
  static constexpr std::uint32_t kMaxProbes = 64;

  /// Whether the window is one of time or of calls is fixed for the life of the state (`same_structure`); all other
  /// numbers are those of the config it is asked with. The lengths of the windows follow at the next `tick`.
  explicit CircuitBreaker(const CircuitConfig& config);

  /// Whether a call would be admitted now; takes nothing.
  Verdict peek(const CircuitConfig& config, TimePoint now) const noexcept;
  /// Admits a call, or refuses it with the time until it is worth asking again. `attempt_limit`: the time limit of the
  /// attempt itself, 0 if it has none.
  CircuitAnswer admit(const CircuitConfig& config, Nanos attempt_limit, TimePoint now, Rng& rng) noexcept;

  /// Does what is due by the clock alone, any number of times: half-opens, counts overdue probes as failed, and follows
  /// the window lengths of `config`, which must be the newest one.
  void tick(const CircuitConfig& config, TimePoint now, Rng& rng) noexcept;

  void force_open() noexcept;
  void force_close() noexcept;
  /// Ends a forcing; nothing if there is none.
  void automatic() noexcept;
  /// Closed, automatic, nothing remembered.
  void reset() noexcept;

  CircuitState state() const noexcept;
  CircuitForce force() const noexcept;
  /// Changes with every transition; a result counts only in the generation it was admitted in.
  std::uint32_t generation() const noexcept;
  /// Zero unless it is open by itself.
  Nanos cooldown_left(TimePoint now) const noexcept;
  std::uint32_t probes_out() const noexcept;
  std::uint64_t failures_in_a_row() const noexcept;
  OutcomeCounts counts(TimePoint now) const noexcept;
  /// How often it went from one state to another.
  std::uint64_t transitions(CircuitState from, CircuitState to) const noexcept;

 private:
  friend class CircuitPermit;

  enum class Phase : std::uint8_t { closed, half_open, open, forced_open, forced_closed };

  static Phase phase_of(std::uint64_t word) noexcept;
  static CircuitState shown(Phase phase) noexcept;
  static bool current(std::uint64_t word, Phase phase, std::uint32_t generation) noexcept;
  static Verdict judge(const CircuitConfig& config, std::uint64_t word, TimePoint now) noexcept;
  std::uint64_t load() const noexcept { return word_.value.load(std::memory_order_acquire); }

  bool change(std::uint64_t from, Phase to, std::uint64_t numbers) noexcept;
  bool open_again(const CircuitConfig& config, std::uint64_t from, TimePoint since, Rng& rng) noexcept;
  void trip(std::uint32_t generation, const CircuitConfig& config, TimePoint now, Rng& rng) noexcept;
  void begin_anew(Phase phase) noexcept;
  void clear_windows() noexcept;
  std::uint64_t advance(const CircuitConfig& config, TimePoint now, Rng& rng) noexcept;

  CircuitPermit claim_slot(std::uint32_t generation, TimePoint last_moment) noexcept;
  void free_slot(const CircuitPermit& permit) noexcept;
  void give_back(const CircuitPermit& permit) noexcept;
  std::optional<TimePoint> overdue_since(std::uint64_t word, TimePoint now) const noexcept;

  void settle_call(std::uint32_t generation, const CircuitConfig& config, CircuitResult result, bool slow,
                   TimePoint now, Rng& rng) noexcept;
  void settle_probe(const CircuitPermit& permit, const CircuitConfig& config, CircuitResult result, TimePoint now,
                    Rng& rng) noexcept;
  void record(CallEnd end, TimePoint now) noexcept;
  std::uint64_t row_after(bool failed, std::uint32_t generation) noexcept;
  bool rates_hold(const CircuitConfig& config, TimePoint now) const noexcept;

  Padded<std::atomic<std::uint64_t>> word_;
  std::atomic<std::uint32_t> reopenings_{0};
  // The probes that are out, generation and last moment of each, so that an overdue one is found without its doing.
  std::array<std::atomic<std::uint64_t>, kMaxProbes> slots_{};
  std::array<std::atomic<std::uint64_t>, 9> transitions_{};
  TimeWindow recent_;
  std::unique_ptr<CallWindow> recent_calls_;  // instead of `recent_` where the rate is one of calls
};

}  // namespace outrigger::policy
