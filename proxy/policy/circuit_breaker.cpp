#include "proxy/policy/circuit_breaker.hpp"

#include <algorithm>
#include <cmath>

namespace outrigger::policy {
namespace {

constexpr std::uint32_t kNumberBits = 40;
constexpr std::uint32_t kGenerationBits = 21;
constexpr std::uint64_t kNumbers = (std::uint64_t{1} << kNumberBits) - 1;
constexpr std::uint32_t kGenerations = (1u << kGenerationBits) - 1;

// The numbers of the half-open phase.
constexpr std::uint64_t kOneProbe = 1;
constexpr std::uint64_t kOneSuccess = std::uint64_t{1} << 20;

// A claimed slot: this bit, the generation where the word has it, and the probe's last moment.
constexpr std::uint64_t kClaimed = std::uint64_t{1} << 63;

// A half-open circuit cannot know when a probe will end, a forced one when its operator comes back.
constexpr Nanos kAskAgain = std::chrono::seconds{1};

constexpr std::uint64_t numbers_of(std::uint64_t word) noexcept { return word & kNumbers; }
constexpr std::uint32_t generation_of(std::uint64_t word) noexcept {
  return static_cast<std::uint32_t>(word >> kNumberBits) & kGenerations;
}
constexpr std::uint32_t probes_of(std::uint64_t word) noexcept {
  return static_cast<std::uint32_t>(word & (kOneSuccess - 1));
}
constexpr std::uint64_t successes_of(std::uint64_t word) noexcept { return numbers_of(word) / kOneSuccess; }

constexpr std::uint64_t to_ms_up(TimePoint at) noexcept {
  const std::int64_t ns = std::max<std::int64_t>(0, at.time_since_epoch().count());
  const auto ms = static_cast<std::uint64_t>(ns / 1'000'000 + (ns % 1'000'000 != 0 ? 1 : 0));
  return std::min(ms, kNumbers);
}
constexpr TimePoint from_ms(std::uint64_t word) noexcept {
  return TimePoint{std::chrono::milliseconds{numbers_of(word)}};
}

/// `part` of `whole` is at least `rate`, equality included in spite of a rate that has no exact binary form.
constexpr bool reaches(std::uint64_t part, std::uint64_t whole, double rate, std::uint64_t minimum) noexcept {
  if (whole < minimum || whole == 0) return false;
  const auto all = static_cast<double>(whole);
  return static_cast<double>(part) + 1e-12 * all >= rate * all;
}

/// The time an opening lasts. Jitter at the upper bound is folded back below it: the bound holds, and those who have
/// reached it still do not probe together.
Nanos cooldown_of(const CircuitConfig& config, std::uint32_t reopenings, Rng& rng) noexcept {
  const double longest = static_cast<double>(std::max(config.cooldown, config.max_cooldown).count());
  const double grown = std::min(
      longest, static_cast<double>(config.cooldown.count()) * std::pow(config.cooldown_multiplier, reopenings));
  const double jittered = grown * (1 + config.cooldown_jitter * (2 * rng.uniform() - 1));
  return Nanos{static_cast<std::int64_t>(std::min(jittered, 2 * longest - jittered))};
}

Nanos probe_timeout_of(const CircuitConfig& config, Nanos attempt_limit) noexcept {
  return config.probe_timeout.count() > 0 ? config.probe_timeout : std::max(config.cooldown, attempt_limit);
}

constexpr std::size_t pair(CircuitState from, CircuitState to) noexcept {
  return static_cast<std::size_t>(from) * 3 + static_cast<std::size_t>(to);
}

Verdict refusal(Reason reason, Nanos retry_after) noexcept { return {reason, std::max(retry_after, Nanos{1})}; }

}  // namespace

bool same_structure(const CircuitConfig& was, const CircuitConfig& now) noexcept {
  const auto by_calls = [](const CircuitConfig& config) { return config.trip == CircuitConfig::Trip::rate_by_calls; };
  return was.scope == now.scope && was.counts == now.counts && by_calls(was) == by_calls(now);
}

CircuitResult circuit_result(const CircuitConfig& config, std::uint16_t status) noexcept {
  if (config.failure_statuses.contains(status)) return CircuitResult::failure;
  const bool silent = status >= 500 || status == 408 || status == 425 || status == 429;
  return silent ? CircuitResult::neutral : CircuitResult::success;
}

CircuitResult circuit_result(const CircuitConfig& config, Reason fault) noexcept {
  // A body whose rest does not come has ended early.
  if (fault == Reason::response_idle_timeout) fault = Reason::closed_early;
  return config.failure_reasons.contains(fault) ? CircuitResult::failure : CircuitResult::neutral;
}

// ---- permits --------------------------------------------------------------------------------

void CircuitPermit::settle(const CircuitConfig& config, CircuitResult result, Nanos took, TimePoint now,
                           Rng& rng) noexcept {
  CircuitBreaker* breaker = std::exchange(breaker_, nullptr);
  if (breaker == nullptr) return;
  const bool slow = config.slow_call && took >= config.slow_call->threshold;
  if (slot_ == kNoProbe) return breaker->settle_call(generation_, config, result, slow, now, rng);
  breaker->settle_probe(*this, config, slow ? CircuitResult::failure : result, now, rng);
}

void CircuitPermit::release() noexcept {
  CircuitBreaker* breaker = std::exchange(breaker_, nullptr);
  if (breaker != nullptr && slot_ != kNoProbe) breaker->give_back(*this);
}

// ---- state ----------------------------------------------------------------------------------

CircuitBreaker::CircuitBreaker(const CircuitConfig& config) : recent_(config.window) {
  if (config.trip == CircuitConfig::Trip::rate_by_calls) {
    recent_calls_ = std::make_unique<CallWindow>(config.window_calls);
  }
}

CircuitBreaker::Phase CircuitBreaker::phase_of(std::uint64_t word) noexcept {
  return static_cast<Phase>(word >> (kNumberBits + kGenerationBits));
}

CircuitState CircuitBreaker::shown(Phase phase) noexcept {
  switch (phase) {
    case Phase::closed:
    case Phase::forced_closed: return CircuitState::closed;
    case Phase::half_open: return CircuitState::half_open;
    case Phase::open:
    case Phase::forced_open: break;
  }
  return CircuitState::open;
}

bool CircuitBreaker::change(std::uint64_t from, Phase to, std::uint64_t numbers) noexcept {
  const std::uint64_t generation = (generation_of(from) + 1) & kGenerations;
  const std::uint64_t next = (std::uint64_t{static_cast<std::uint8_t>(to)} << (kNumberBits + kGenerationBits)) |
                             (generation << kNumberBits) | numbers;
  if (!word_.value.compare_exchange_strong(from, next, std::memory_order_acq_rel)) return false;
  const CircuitState left = shown(phase_of(from));
  if (left != shown(to)) transitions_[pair(left, shown(to))].fetch_add(1, std::memory_order_relaxed);
  return true;
}

bool CircuitBreaker::open_again(const CircuitConfig& config, std::uint64_t from, TimePoint since, Rng& rng) noexcept {
  const std::uint32_t reopenings = reopenings_.load(std::memory_order_relaxed) + 1;
  const TimePoint until = saturating_add(since, cooldown_of(config, reopenings, rng));
  if (!change(from, Phase::open, to_ms_up(until))) return false;
  reopenings_.store(reopenings, std::memory_order_relaxed);
  return true;
}

std::uint64_t CircuitBreaker::advance(const CircuitConfig& config, TimePoint now, Rng& rng) noexcept {
  for (;;) {
    const std::uint64_t word = load();
    if (phase_of(word) == Phase::open && now >= from_ms(word)) {
      change(word, Phase::half_open, 0);
    } else if (const auto since = overdue_since(word, now)) {
      // It failed when it became overdue, however late that is noticed.
      open_again(config, word, *since, rng);
    } else {
      return word;
    }
  }
}

void CircuitBreaker::tick(const CircuitConfig& config, TimePoint now, Rng& rng) noexcept {
  recent_.cut(config.window, now);
  if (recent_calls_) recent_calls_->cut(config.window_calls);
  advance(config, now, rng);
}

// ---- admission ------------------------------------------------------------------------------

Verdict CircuitBreaker::judge(const CircuitConfig& config, std::uint64_t word, TimePoint now) noexcept {
  switch (phase_of(word)) {
    case Phase::closed:
    case Phase::forced_closed: return {};
    case Phase::open: return refusal(Reason::circuit_open, time_left(now, from_ms(word)));
    case Phase::forced_open: return refusal(Reason::circuit_open, kAskAgain);
    case Phase::half_open: break;
  }
  if (probes_of(word) < std::min(config.max_probes, kMaxProbes)) return {};
  return refusal(Reason::circuit_half_open_probe_limit, kAskAgain);
}

Verdict CircuitBreaker::peek(const CircuitConfig& config, TimePoint now) const noexcept {
  const std::uint64_t word = load();
  if (phase_of(word) == Phase::open && now >= from_ms(word)) return {};
  if (overdue_since(word, now)) return refusal(Reason::circuit_open, config.cooldown);
  return judge(config, word, now);
}

CircuitAnswer CircuitBreaker::admit(const CircuitConfig& config, Nanos attempt_limit, TimePoint now,
                                    Rng& rng) noexcept {
  for (;;) {
    std::uint64_t word = advance(config, now, rng);
    const Verdict verdict = judge(config, word, now);
    if (!verdict.admitted()) return {verdict, {}};
    const std::uint32_t generation = generation_of(word);
    if (phase_of(word) != Phase::half_open) return {verdict, CircuitPermit{*this, generation}};
    // Acquires the slots freed before the probes that were given back.
    if (word_.value.compare_exchange_strong(word, word + kOneProbe, std::memory_order_acq_rel)) {
      return {verdict, claim_slot(generation, saturating_add(now, probe_timeout_of(config, attempt_limit)))};
    }
  }
}

CircuitPermit CircuitBreaker::claim_slot(std::uint32_t generation, TimePoint last_moment) noexcept {
  CircuitPermit permit{*this, generation};
  permit.slot_ = 0;
  const std::uint64_t claim = kClaimed | (std::uint64_t{generation} << kNumberBits) | to_ms_up(last_moment);
  for (std::uint32_t i = 0; i < kMaxProbes; ++i) {
    std::uint64_t found = slots_[i].load(std::memory_order_relaxed);
    // A probe of an earlier half-open period may be out still; its result means nothing any more, nor does its slot.
    // Whoever was delayed until a later period takes no slot of it.
    const std::uint32_t age = (generation - generation_of(found)) & kGenerations;
    const bool taken = (found & kClaimed) != 0 && (age == 0 || age > kGenerations / 2);
    if (taken || !slots_[i].compare_exchange_strong(found, claim, std::memory_order_relaxed)) continue;
    permit.slot_ = i;
    permit.claim_ = claim;
    break;
  }
  return permit;
}

void CircuitBreaker::free_slot(const CircuitPermit& permit) noexcept {
  std::uint64_t mine = permit.claim_;
  slots_[permit.slot_].compare_exchange_strong(mine, 0, std::memory_order_relaxed);
}

std::optional<TimePoint> CircuitBreaker::overdue_since(std::uint64_t word, TimePoint now) const noexcept {
  if (phase_of(word) != Phase::half_open) return std::nullopt;
  TimePoint earliest = now;
  std::uint32_t unseen = probes_of(word);
  for (std::uint32_t i = 0; i < kMaxProbes && unseen > 0; ++i) {
    const std::uint64_t claim = slots_[i].load(std::memory_order_relaxed);
    if ((claim & kClaimed) == 0 || generation_of(claim) != generation_of(word)) continue;
    --unseen;
    earliest = std::min(earliest, from_ms(claim));
  }
  return earliest < now ? std::optional{earliest} : std::nullopt;
}

// ---- results --------------------------------------------------------------------------------

void CircuitBreaker::settle_call(std::uint32_t generation, const CircuitConfig& config, CircuitResult result, bool slow,
                                 TimePoint now, Rng& rng) noexcept {
  const bool neutral = result == CircuitResult::neutral;
  const bool failed = result == CircuitResult::failure;
  if ((neutral && !slow) || !current(load(), Phase::closed, generation)) return;
  const bool in_a_row = config.trip == CircuitConfig::Trip::consecutive;
  if (!in_a_row || config.slow_call) record({failed, slow, neutral}, now);
  const std::uint64_t row = in_a_row && !neutral ? row_after(failed, generation) : 0;
  if (!failed && !slow) return;
  const bool holds = in_a_row && failed && row >= config.consecutive_failures;
  if (holds || rates_hold(config, now)) trip(generation, config, now, rng);
}

void CircuitBreaker::record(CallEnd end, TimePoint now) noexcept {
  recent_calls_ ? recent_calls_->record(end) : recent_.record(end, now);
}

std::uint64_t CircuitBreaker::row_after(bool failed, std::uint32_t generation) noexcept {
  std::uint64_t word = load();
  while (current(word, Phase::closed, generation)) {
    const std::uint64_t row = failed ? numbers_of(word) + 1 : 0;
    // The healthy case, success after success, writes nothing.
    if (row == numbers_of(word)) return row;
    if (word_.value.compare_exchange_weak(word, word - numbers_of(word) + row, std::memory_order_acq_rel)) return row;
  }
  return 0;
}

bool CircuitBreaker::rates_hold(const CircuitConfig& config, TimePoint now) const noexcept {
  const bool by_rate = config.trip != CircuitConfig::Trip::consecutive;
  if (!by_rate && !config.slow_call) return false;
  const OutcomeCounts seen = counts(now);
  // A minimum that the window cannot hold would mean never.
  const std::uint32_t minimum =
      recent_calls_ ? std::min(config.minimum_calls, config.window_calls) : config.minimum_calls;
  if (by_rate && reaches(seen.failures, seen.calls, config.failure_rate, minimum)) return true;
  return config.slow_call && reaches(seen.slow, seen.timed, config.slow_call->rate, minimum);
}

void CircuitBreaker::trip(std::uint32_t generation, const CircuitConfig& config, TimePoint now, Rng& rng) noexcept {
  const std::uint64_t until = to_ms_up(saturating_add(now, cooldown_of(config, 0, rng)));
  for (std::uint64_t word = load(); current(word, Phase::closed, generation); word = load()) {
    if (!change(word, Phase::open, until)) continue;
    reopenings_.store(0, std::memory_order_relaxed);
    return;
  }
}

void CircuitBreaker::settle_probe(const CircuitPermit& permit, const CircuitConfig& config, CircuitResult result,
                                  TimePoint now, Rng& rng) noexcept {
  // An overdue probe has failed, even if its own result is the first to notice.
  advance(config, now, rng);
  if (result == CircuitResult::neutral) return give_back(permit);
  free_slot(permit);
  std::uint64_t word = load();
  while (current(word, Phase::half_open, permit.generation_)) {
    if (result == CircuitResult::failure) {
      if (open_again(config, word, now, rng)) return;
    } else if (successes_of(word) + 1 >= config.successes) {
      // Nothing is recorded while it is half-open, so this is the moment to forget what led here.
      clear_windows();
      if (change(word, Phase::closed, 0)) return;
    } else if (word_.value.compare_exchange_strong(word, word - kOneProbe + kOneSuccess, std::memory_order_acq_rel)) {
      return;
    }
    word = load();
  }
}

void CircuitBreaker::give_back(const CircuitPermit& permit) noexcept {
  free_slot(permit);
  std::uint64_t word = load();
  while (current(word, Phase::half_open, permit.generation_) &&
         !word_.value.compare_exchange_weak(word, word - kOneProbe, std::memory_order_acq_rel)) {
  }
}

// ---- operators and views --------------------------------------------------------------------

void CircuitBreaker::clear_windows() noexcept {
  recent_.clear();
  if (recent_calls_) recent_calls_->clear();
}

void CircuitBreaker::begin_anew(Phase phase) noexcept {
  while (!change(load(), phase, 0)) {
  }
  reopenings_.store(0, std::memory_order_relaxed);
  clear_windows();
}

void CircuitBreaker::force_open() noexcept { begin_anew(Phase::forced_open); }
void CircuitBreaker::force_close() noexcept { begin_anew(Phase::forced_closed); }
void CircuitBreaker::reset() noexcept { begin_anew(Phase::closed); }

void CircuitBreaker::automatic() noexcept {
  switch (force()) {
    case CircuitForce::none: return;
    case CircuitForce::open: return begin_anew(Phase::half_open);
    case CircuitForce::closed: return begin_anew(Phase::closed);
  }
}

bool CircuitBreaker::current(std::uint64_t word, Phase phase, std::uint32_t generation) noexcept {
  return phase_of(word) == phase && generation_of(word) == generation;
}

CircuitState CircuitBreaker::state() const noexcept { return shown(phase_of(load())); }

CircuitForce CircuitBreaker::force() const noexcept {
  const Phase phase = phase_of(load());
  if (phase == Phase::forced_open) return CircuitForce::open;
  return phase == Phase::forced_closed ? CircuitForce::closed : CircuitForce::none;
}

std::uint32_t CircuitBreaker::generation() const noexcept { return generation_of(load()); }

Nanos CircuitBreaker::cooldown_left(TimePoint now) const noexcept {
  const std::uint64_t word = load();
  return phase_of(word) == Phase::open ? std::max(Nanos{0}, time_left(now, from_ms(word))) : Nanos{0};
}

std::uint32_t CircuitBreaker::probes_out() const noexcept {
  const std::uint64_t word = load();
  return phase_of(word) == Phase::half_open ? probes_of(word) : 0;
}

std::uint64_t CircuitBreaker::failures_in_a_row() const noexcept {
  const std::uint64_t word = load();
  return phase_of(word) == Phase::closed ? numbers_of(word) : 0;
}

OutcomeCounts CircuitBreaker::counts(TimePoint now) const noexcept {
  return recent_calls_ ? recent_calls_->counts() : recent_.counts(now);
}

std::uint64_t CircuitBreaker::transitions(CircuitState from, CircuitState to) const noexcept {
  return transitions_[pair(from, to)].load(std::memory_order_relaxed);
}

}  // namespace outrigger::policy
