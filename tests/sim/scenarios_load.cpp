#include <array>

#include "tests/sim/scenario.hpp"
#include "tests/sim/scenario_parts.hpp"

// Whether the policies against a slow tail and against too much load do what they are for.
namespace outrigger::sim {

using namespace std::chrono_literals;

namespace {

// ---- hedging against a slow tail ---------------------------------------------------------------

constexpr Nanos kUsual = 10ms;
constexpr Span kHedged{5s, 20s};     // after the trigger has learnt
constexpr Span kUnhedged{21s, 36s};  // after a reload without hedges

Setup draw_hedge(Rng& rng) {
  Behaviour usual;
  usual.service = uniform(8ms, kUsual);
  usual.slow = 0.02;
  usual.slow_service = constant(20 * kUsual);
  Setup setup;
  Numbers without = setup.numbers;
  setup.numbers.hedge.emplace().quantile = 0.95;
  setup.reloads.push_back({kHedged.until, without});
  setup.endpoints.resize(2 + rng.below(3), {.usual = usual, .phases = {}, .weight = 1});
  setup.traffic = plain_traffic(300, kUnhedged.until);
  return setup;
}

Figures measure_hedge(const Setup&, const Account& account) {
  const double p99 = to_ms(account.latency(0.99, kHedged));
  const double unhedged_p99 = to_ms(account.latency(0.99, kUnhedged));
  return {{.name = "p50 ms", .value = to_ms(account.latency(0.5, kHedged))},
          {.name = "p99 ms", .value = p99},
          {.name = "p50 ms unhedged", .value = to_ms(account.latency(0.5, kUnhedged))},
          {.name = "p99 ms unhedged", .value = unhedged_p99},
          {.name = "p99 falls by a factor of", .value = unhedged_p99 / p99, .least = 5},
          {.name = "attempts per request", .value = account.amplification(kHedged), .most = 1.06}};
}

// ---- more than can be served -------------------------------------------------------------------

constexpr std::uint32_t kCapacity = 50;
constexpr Nanos kServiceTime = 20ms;
constexpr double kCapacityPerSecond = kCapacity * 1e9 / static_cast<double>(kServiceTime.count());

/// Three times what an upstream can serve that queues what it cannot: a tenth is critical, a third of the rest low.
Setup overload(double sigma, Nanos length) {
  Behaviour usual;
  usual.service = lognormal(kServiceTime, sigma);
  usual.body = constant(0ns);
  usual.concurrency = kCapacity;
  usual.queue = 10'000;
  Setup setup;
  setup.numbers.policy.overall_timeout = 1s;
  setup.endpoints.push_back({.usual = usual, .phases = {}, .weight = 1});
  setup.traffic = plain_traffic(3 * kCapacityPerSecond, length);
  setup.traffic.low = 0.3;
  setup.traffic.critical = 0.1;
  return setup;
}

constexpr policy::PriorityThresholds kShares{.fraction = {0.5, 0.8, 1}};

Figures measure_goodput(const Account& account, Span span, bool bounded) {
  const double none = -Figure::kNoBound;
  return {{.name = "goodput of critical",
           .value = account.goodput(span, Priority::critical),
           .least = bounded ? 0.99 : none},
          {.name = "goodput of standard", .value = account.goodput(span, Priority::standard)},
          {.name = "goodput of low", .value = account.goodput(span, Priority::low)},
          {.name = "goodput of capacity",
           .value = account.good_per_second(span) / kCapacityPerSecond,
           .least = bounded ? 0.9 : none},
          {.name = "p99 ms", .value = to_ms(account.latency(0.99, span))}};
}

Setup draw_bulkhead(Rng& rng) {
  Setup setup = overload(pick(rng, 0.02, 0.3), 10s);
  setup.numbers.bulkheads.push_back({.max_concurrent = kCapacity * 5 / 4, .priorities = kShares});
  return setup;
}

Figures measure_bulkhead(const Setup& setup, const Account& account) {
  return measure_goodput(account, {1s, setup.traffic.length}, true);
}

// ---- a limit that finds the capacity -----------------------------------------------------------

using Algorithm = policy::AdaptiveLimitConfig::Algorithm;

constexpr Nanos kFound = 30s;
constexpr double kInFlightLeast = 0.8 * kCapacity;
constexpr double kInFlightMost = 1.7 * kCapacity;

/// The limit begins with 20 places and has no queue: who finds no place is refused at once.
policy::AdaptiveLimitConfig limit(Algorithm algorithm) {
  return {.algorithm = algorithm, .initial = 20, .queue = 0, .priorities = kShares};
}

template <Algorithm algorithm, int sigma_percent, int seconds>
Setup draw_limit(Rng&) {
  Setup setup = overload(sigma_percent / 100.0, std::chrono::seconds{seconds});
  setup.numbers.adaptive = limit(algorithm);
  return setup;
}

Figures measure_limit(const Setup& setup, const Account& account) {
  const bool bounded = setup.numbers.adaptive->algorithm == Algorithm::aimd;
  const Span found{kFound, setup.traffic.length};
  Figures figures = measure_goodput(account, found, bounded);
  figures.push_back({.name = "seconds to 0.8 of capacity",
                     .value = account.seconds_to_in_flight({0s, setup.traffic.length}, kInFlightLeast),
                     .most = bounded ? 30 : Figure::kNoBound});
  figures.push_back({.name = "in flight, least mean of a second",
                     .value = account.least_in_flight(found),
                     .least = bounded ? kInFlightLeast : -Figure::kNoBound});
  figures.push_back({.name = "in flight, most mean of a second",
                     .value = account.most_in_flight(found),
                     .most = bounded ? kInFlightMost : Figure::kNoBound});
  return figures;
}

/// An upstream with room for all, whose answers scatter as answers do, and not many of them in a window: that is no
/// reason to refuse any.
Setup draw_scatter(Rng& rng) {
  Behaviour usual;
  switch (rng.below(3)) {
    case 0: usual.service = exponential(kServiceTime); break;
    case 1: usual.service = lognormal(kServiceTime, pick(rng, 0.3, 1)); break;
    default:
      usual.service = uniform(kServiceTime / 2, kServiceTime);
      usual.slow = 0.02;
      usual.slow_service = constant(20 * kServiceTime);
      break;
  }
  Setup setup;
  setup.numbers.policy.overall_timeout = 2s;
  setup.numbers.adaptive = limit(Algorithm::aimd);
  setup.endpoints.push_back({.usual = usual, .phases = {}, .weight = 1});
  setup.traffic = plain_traffic(pick(rng, 50, 200), 2min);
  return setup;
}

Figures measure_scatter(const Setup& setup, const Account& account) {
  return {{.name = "goodput", .value = account.goodput({}), .least = 0.9},
          {.name = "limit at the end", .value = static_cast<double>(account.limit_at(setup.traffic.length))}};
}

constexpr Nanos kQuickAnswers = 30s;
constexpr Nanos kSlowerFrom = 45s;
constexpr Span kSlower{kSlowerFrom, 75s};
// Twice the time is learnt when the limit may grow again although all answers take it: they may take 1.25 of the
// baseline. A probe takes that from the smaller of two means, each of which is off by some per cent.
constexpr Nanos kTwiceIsSwift = 2 * kServiceTime * 4 / 5;

/// A few answers come at once, about half of them 503, the others 413; a while after, every answer takes twice as long.
Setup draw_learning(Rng& rng) {
  Setup setup = overload(rng.below(2) == 0 ? 0.02 : 0.3, kSlower.until);
  setup.numbers.adaptive = limit(Algorithm::aimd);
  const Behaviour& usual = setup.endpoints[0].usual;
  Behaviour quick = usual;
  quick.early = 1;
  Behaviour slower = usual;
  slower.service.scale *= 2;
  setup.endpoints[0].phases = {{kQuickAnswers, kQuickAnswers + 2ms, quick}, {kSlower.from, kSlower.until, slower}};
  return setup;
}

Figures measure_learning(const Setup&, const Account& account) {
  const Span quick{kQuickAnswers, kQuickAnswers + 5s};
  return {
      {.name = "in flight after quick failures, least",
       .value = account.least_in_flight(quick),
       .least = kInFlightLeast},
      {.name = "in flight after quick failures, most", .value = account.most_in_flight(quick), .most = kInFlightMost},
      {.name = "seconds to learn twice the time",
       .value = account.seconds_to_baseline(kSlower, kTwiceIsSwift),
       .most = 10},
      {.name = "limit ten seconds after, least",
       .value = account.least_limit({kSlower.from + 10s, kSlower.until}),
       .least = kInFlightLeast},
      {.name = "in flight ten seconds after, least",
       .value = account.least_in_flight({kSlower.from + 10s, kSlower.until})},
      {.name = "in flight ten seconds after, most",
       .value = account.most_in_flight({kSlower.from + 10s, kSlower.until}),
       .most = kInFlightMost}};
}

template <Algorithm algorithm, int sigma_percent, int seconds>
constexpr Scenario limited(std::string_view name, std::string_view what, std::uint32_t seeds = 50) {
  return {name, what, draw_limit<algorithm, sigma_percent, seconds>, measure_limit, Scenario::Length::long_once, seeds};
}

constexpr int kMinute = 60;
constexpr int kTenMinutes = 600;

}  // namespace

std::span<const Scenario> load_scenarios() {
  static constexpr std::array kScenarios = {
      Scenario{"hedge", "two answers in a hundred are twenty times slower", draw_hedge, measure_hedge},
      Scenario{"bulkhead", "three times what can be served, by priority", draw_bulkhead, measure_bulkhead,
               Scenario::Length::long_once},
      limited<Algorithm::aimd, 2, kMinute>("aimd_steady", "the same for a minute, the limit unknown"),
      limited<Algorithm::aimd, 30, kMinute>("aimd_jitter", "the same, service times of sigma 0.3"),
      limited<Algorithm::aimd, 2, kTenMinutes>("aimd_steady_long", "the steady ones for ten minutes; one seed", 1),
      limited<Algorithm::aimd, 30, kTenMinutes>("aimd_jitter_long", "the jittered ones for ten minutes; one seed", 1),
      Scenario{"aimd_learns", "the same, quick failures, then twice the service time", draw_learning, measure_learning,
               Scenario::Length::long_once},
      Scenario{"aimd_scatter", "few requests, whose times scatter, and room for all", draw_scatter, measure_scatter},
      limited<Algorithm::gradient, 2, kMinute>("gradient_steady", "the other rule, its figures only shown"),
      limited<Algorithm::gradient, 30, kMinute>("gradient_jitter", "the same, service times of sigma 0.3")};
  return kScenarios;
}

}  // namespace outrigger::sim
