#include <array>

#include "tests/sim/scenario.hpp"
#include "tests/sim/scenario_parts.hpp"

// Whether the whole survives: an outage must not be made worse by what is sent again, and must be over when it is over.
// That holds for one that ends at once, for one that ends slowly, and for an upstream that is only slower than usual.
namespace outrigger::sim {

using namespace std::chrono_literals;

namespace {

/// What every trouble is judged by: what it costs, and that nothing of it lasts.
Figures figures_of(const Account& account, Span trouble, Nanos over, double attempts, double recovery = 5) {
  const Nanos recovered = trouble.until + Nanos{static_cast<std::int64_t>(recovery * 1e9)};
  const Span after{trouble.until, over};
  return {{.name = "attempts per request in it", .value = account.amplification(trouble), .most = attempts},
          {.name = "goodput in it", .value = account.goodput(trouble)},
          {.name = "seconds to recovery", .value = account.seconds_to_recovery(after), .most = recovery},
          {.name = "goodput when that is over", .value = account.goodput({recovered, over}), .least = 0.99}};
}

// ---- everything is out ------------------------------------------------------------------------

// The calm before it is as long as the default budget's window, so that the outage begins with all that can be saved.
constexpr Span kOutage{10s, 70s};
constexpr Nanos kOutageOver = 80s;

enum class Outage {
  refused,  // connections are refused, those that there are break
  failing,  // every answer is a 503, in the usual time
  hanging,  // connections and requests are taken, and nothing is ever answered
  clogged,  // the same, but by no more workers than usual, with a queue that is still there when it is over
};

Behaviour behaviour_in(Outage kind, Behaviour usual) {
  switch (kind) {
    case Outage::refused: usual.refuse = usual.stale = usual.reset = 1; break;
    case Outage::failing: usual.fail = 1; break;
    case Outage::hanging: usual.concurrency = 0; [[fallthrough]];
    case Outage::clogged: usual.hang = 1; break;
  }
  return usual;
}

/// A thousand requests per second to the only upstream, at two thirds of what it can do.
template <Outage kind, bool with_circuit>
Setup draw_outage(Rng& rng) {
  const std::uint32_t endpoints = 1 + pick_below(rng, 3);
  Behaviour usual;
  usual.service = exponential(20ms);
  usual.concurrency = 30 / endpoints;
  usual.queue = 1000 / endpoints;
  Setup setup;
  setup.numbers.policy.overall_timeout = 1s;
  setup.numbers.policy.retry.emplace();
  setup.numbers.policy.retry->timeout_per_attempt = 300ms;
  if (with_circuit) setup.numbers.circuits.push_back(circuit(rng));
  setup.endpoints.resize(
      endpoints, {.usual = usual, .phases = {{kOutage.from, kOutage.until, behaviour_in(kind, usual)}}, .weight = 1});
  setup.traffic = plain_traffic(1000, kOutageOver);
  return setup;
}

Figures measure_outage(const Setup& setup, const Account& account) {
  return figures_of(account, kOutage, kOutageOver, setup.numbers.circuits.empty() ? 1.25 : 0.05);
}

/// One of several endpoints is out; retries elsewhere must hide most of it.
constexpr Span kPartial{5s, 25s};

Setup draw_partial(Rng& rng) {
  Behaviour usual;
  usual.service = exponential(20ms);
  usual.concurrency = 2;
  usual.queue = 50;
  Setup setup;
  setup.numbers.policy.overall_timeout = 1s;
  setup.numbers.policy.retry.emplace();
  setup.numbers.policy.retry->timeout_per_attempt = 300ms;
  setup.numbers.balance = policy::Balance::round_robin;
  setup.endpoints.resize(6, {.usual = usual, .phases = {}, .weight = 1});
  const auto kind = static_cast<Outage>(rng.below(4));
  setup.endpoints[0].phases = {{kPartial.from, kPartial.until, behaviour_in(kind, usual)}};
  setup.traffic = plain_traffic(200, 35s);
  return setup;
}

Figures measure_partial(const Setup&, const Account& account) {
  return {{.name = "goodput in it", .value = account.goodput(kPartial), .least = 0.98},
          {.name = "attempts per request in it", .value = account.amplification(kPartial), .most = 1.25}};
}

// ---- slower than usual ------------------------------------------------------------------------

/// What stands before the upstream. Budgets are the built-in one.
enum class Guard { circuit, hedge, adaptive };

void guard(Guard kind, Rng& rng, Numbers& numbers) {
  if (kind == Guard::hedge) {
    numbers.hedge.emplace().quantile = 0.95;
    return;
  }
  numbers.policy.retry.emplace();
  numbers.policy.retry->timeout_per_attempt = 500ms;
  if (kind == Guard::circuit) numbers.circuits.push_back(circuit(rng));
  if (kind == Guard::adaptive) numbers.adaptive.emplace().queue = pick_below(rng, 20);
}

/// An adaptive limit has been down to its least, and grows back by one per window.
double recovery_of(const Setup& setup) { return setup.numbers.adaptive ? 15 : 5; }

constexpr Span kBrownOut{10s, 40s};
constexpr Nanos kBrownOutOver = 60s;

/// Ten times the latency and half of the workers, for half a minute: that is a little more than what is needed, or a
/// third of it.
template <Guard kind>
Setup draw_brown_out(Rng& rng) {
  constexpr double kRate = 100;
  const std::uint32_t endpoints = (kind == Guard::hedge ? 2 : 1) + pick_below(rng, 2);
  const double load = pick(rng, 0.7, 3);
  const auto workers = static_cast<std::uint32_t>(kRate * 0.2 / load / endpoints) + 1;
  Behaviour usual;
  usual.service = exponential(20ms);
  usual.concurrency = 2 * workers;
  usual.queue = 20 * workers;
  Behaviour brown = usual;
  brown.service = exponential(200ms);
  brown.concurrency = workers;
  Setup setup;
  setup.numbers.policy.overall_timeout = 1s;
  guard(kind, rng, setup.numbers);
  setup.endpoints.resize(endpoints,
                         {.usual = usual, .phases = {{kBrownOut.from, kBrownOut.until, brown}}, .weight = 1});
  setup.traffic = plain_traffic(kRate, kBrownOutOver);
  return setup;
}

Figures measure_brown_out(const Setup& setup, const Account& account) {
  return figures_of(account, kBrownOut, kBrownOutOver, 1.25, recovery_of(setup));
}

constexpr Span kDown{10s, 30s};
constexpr Nanos kStep = 3s;
constexpr int kSteps = 10;
constexpr Span kSlowRecovery{kDown.from, kDown.until + kSteps* kStep};
constexpr Nanos kSlowRecoveryOver = kSlowRecovery.until + 20s;

/// After an outage a tenth of the capacity comes back, and another tenth every three seconds. Half of it is needed, so
/// for the first half of that time there is too little, and a queue of callers who have gone.
template <Guard kind>
Setup draw_slow_recovery(Rng& rng) {
  const std::uint32_t endpoints = kind == Guard::hedge ? 2 : 1;
  Behaviour usual;
  usual.service = uniform(50ms, 150ms);
  usual.concurrency = 20 / endpoints;
  usual.queue = 100;
  ModelEndpoint endpoint{.usual = usual, .phases = {}, .weight = 1};
  const auto how = static_cast<Outage>(rng.below(4));
  endpoint.phases.push_back({kDown.from, kDown.until, behaviour_in(how, usual)});
  for (int i = 0; i < kSteps; ++i) {
    Behaviour recovering = usual;
    recovering.concurrency = usual.concurrency * static_cast<std::uint32_t>(i + 1) / kSteps;
    endpoint.phases.push_back({kDown.until + i * kStep, kDown.until + (i + 1) * kStep, recovering});
  }
  Setup setup;
  setup.numbers.policy.overall_timeout = 2s;
  guard(kind, rng, setup.numbers);
  setup.endpoints.resize(endpoints, endpoint);
  setup.traffic = plain_traffic(100, kSlowRecoveryOver);
  return setup;
}

Figures measure_slow_recovery(const Setup& setup, const Account& account) {
  Figures figures = figures_of(account, kSlowRecovery, kSlowRecoveryOver, 1.25, recovery_of(setup));
  figures.push_back(
      {.name = "goodput while it recovers", .value = account.goodput({kDown.until, kSlowRecovery.until})});
  return figures;
}

template <Outage kind, bool with_circuit>
constexpr Scenario outage(std::string_view name, std::string_view what) {
  return {name, what, draw_outage<kind, with_circuit>, measure_outage, Scenario::Length::long_once};
}

template <Guard kind>
constexpr Scenario brown_out(std::string_view name, std::string_view what) {
  return {name, what, draw_brown_out<kind>, measure_brown_out};
}

template <Guard kind>
constexpr Scenario slow_recovery(std::string_view name, std::string_view what) {
  return {name, what, draw_slow_recovery<kind>, measure_slow_recovery};
}

}  // namespace

std::span<const Scenario> system_scenarios() {
  static constexpr std::array kScenarios = {
      outage<Outage::refused, false>("outage_refused", "60 s of refused connections at 1,000 requests/s"),
      outage<Outage::failing, false>("outage_failing", "the same, every answer a 503"),
      outage<Outage::hanging, false>("outage_hanging", "the same, nothing answered"),
      outage<Outage::clogged, false>("outage_clogged", "the same, nothing answered and a queue that outlasts it"),
      outage<Outage::refused, true>("circuit_refused", "60 s of refused connections behind a circuit"),
      outage<Outage::failing, true>("circuit_failing", "the same, every answer a 503"),
      outage<Outage::hanging, true>("circuit_hanging", "the same, nothing answered"),
      Scenario{"partial_outage", "one endpoint of six is out", draw_partial, measure_partial},
      brown_out<Guard::circuit>("brown_out_circuit", "30 s of ten times the latency and half of the workers"),
      brown_out<Guard::hedge>("brown_out_hedge", "the same with hedges"),
      brown_out<Guard::adaptive>("brown_out_adaptive", "the same with an adaptive limit"),
      slow_recovery<Guard::circuit>("slow_recovery_circuit", "capacity comes back by tenths after an outage"),
      slow_recovery<Guard::hedge>("slow_recovery_hedge", "the same with hedges"),
      slow_recovery<Guard::adaptive>("slow_recovery_adaptive", "the same with an adaptive limit")};
  return kScenarios;
}

}  // namespace outrigger::sim
