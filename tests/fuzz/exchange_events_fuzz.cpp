// tests/fuzz/exchange_events_fuzz.cpp
//
// Any bytes as the history of two exchanges on one state: a hostile edge that reports whatever it likes about whatever
// attempt, in any order, at any time that does not run backwards. Only what an edge can keep from happening does not
// happen: a request begins once, and begins first. Whatever comes, the promises of ExchangeCheck hold after each fact;
// and once the bytes are used up, letting time pass and the client go ends both, with everything given back.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "proxy/exchange/exchange.hpp"
#include "tests/support/exchange_check.hpp"
#include "tests/support/ledger.hpp"
#include "tests/support/show.hpp"

namespace {

using namespace outrigger;
using namespace outrigger::exchange;
using namespace std::chrono_literals;

/// The input as a source of choices; zeros once it is used up.
class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

  bool left() const { return at_ < size_; }
  std::uint8_t next() { return left() ? data_[at_++] : std::uint8_t{0}; }
  bool flag() { return (next() & 1) != 0; }
  template <class T, std::size_t N>
  T one_of(const std::array<T, N>& choices) {
    return choices[next() % N];
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
  std::size_t at_ = 0;
};

constexpr std::array kFaults = {Reason::connect_refused, Reason::connect_timeout, Reason::connect_error,
                                Reason::dns_failure,     Reason::tls_failure,     Reason::reset,
                                Reason::closed_early,    Reason::protocol_error,  Reason::response_head_too_large};
constexpr std::array kClientFaults = {Reason::client_disconnected, Reason::body_timeout, Reason::body_too_large,
                                      Reason::bad_request, Reason::client_not_reading};
constexpr std::array<std::uint16_t, 12> kStatuses = {200, 503, 500, 502, 504, 429, 408, 425, 404, 501, 101, 304};
constexpr std::array<Nanos, 8> kTimes = {0ns, 1ns, 1ms, 5ms, 50ms, 300ms, 1s, 6s};
constexpr std::array kExposures = {Exposure::nothing_sent, Exposure::partly_sent, Exposure::fully_sent};
constexpr Field kPushback[] = {{"X-Should-Retry", "false"}};

/// What both exchanges share, drawn from the first bytes.
struct State {
  explicit State(Bytes& bytes) {
    policy.overall_timeout = bytes.one_of(kTimes);
    policy.max_duration = bytes.flag() ? bytes.one_of(kTimes) : 0ns;
    policy.deadline.min_remaining = bytes.flag() ? 5ms : 0ms;
    if (bytes.next() % 8 != 0) {
      policy::RetryConfig& retry = policy.retry.emplace();
      retry.max_attempts = 1 + bytes.next() % 10u;
      retry.timeout_per_attempt = bytes.one_of(kTimes);
      retry.backoff = {.initial = bytes.one_of(kTimes),
                       .max = 6s,
                       .multiplier = 2,
                       .jitter = static_cast<policy::Jitter>(bytes.next() % 4)};
      retry.non_idempotent = bytes.flag();
      retry.retry_after.honor = bytes.flag();
      retry.avoid_previous_endpoint = bytes.flag();
    }
    for (std::size_t i = bytes.next() % 4u; i > 0; --i) {
      set.endpoints.push_back({.address = "e", .state = &states[i]});
      ++set.total_weight;
    }
    upstream.name = "up";
    upstream.connect_timeout = std::max(bytes.one_of(kTimes), Nanos{1ns});
    upstream.endpoints = &set;
    config.type = static_cast<policy::BudgetType>(bytes.next() % 5);
    config.capacity = bytes.next() % 8;
    config.retry_cost = 1;
    config.refill_per_second = bytes.next() % 8;
    config.min_per_second = bytes.next() % 4;
    config.min_concurrency = bytes.next() % 3u;
    config.window = 1s;
    budget.emplace(config, 1);
    plan.policy = &policy;
    plan.upstream = &upstream;
    if (bytes.next() % 4 != 0) plan.budget = {.name = "b", .config = &config, .state = &*budget, .cost = 1};
    local.cursors.resize(1);
    local.rng = Rng{bytes.next()};
    ledger.emplace(set.endpoints.size(), config);
  }

  policy::Policy policy;
  policy::EndpointState states[4];
  policy::EndpointSet set;
  Upstream upstream;
  policy::BudgetConfig config;
  std::optional<policy::Budget> budget;
  Plan plan;
  WorkerLocal local;
  std::optional<test::Ledger> ledger;
  TimePoint now{1h};
};

class Request {
 public:
  Request(State& state, Bytes& bytes)
      : state_(state),
        facts_(draw(bytes)),
        check_(state.plan, facts_, timeline_, *state.ledger),
        exchange_(state.plan, facts_, state.local, timeline_) {}

  void feed(const Event& fact) {
    Actions orders;
    exchange_.on(state_.now, fact, orders);
    history_ += test::show(state_.now - TimePoint{1h}) + " " + test::show(fact) + " -> " + test::show(orders) + "\n";
    std::string broken = check_.observe(state_.now, fact, orders, exchange_);
    if (broken.empty()) broken = state_.ledger->compare(state_.set, &*state_.budget);
    if (broken.empty()) return;
    std::fprintf(stderr, "%s\n%s", broken.c_str(), history_.c_str());
    std::abort();
  }

  /// Lets time pass and the client receive its answer or go; ends within a bounded number of steps.
  void end() {
    for (int steps = 0; !exchange_.finished(); ++steps) {
      if (steps > 100) std::abort();
      const TimePoint at = exchange_.wakeup();
      if (check_.answered()) {
        feed(Delivered{});
      } else if (at == kNever) {
        feed(DownstreamFailed{Reason::client_disconnected});
      } else {
        state_.now = std::max(state_.now, at);
        feed(Tick{});
      }
    }
    if (check_.live_attempts() != 0) std::abort();
  }
  TimePoint wakeup() const { return exchange_.wakeup(); }

 private:
  static RequestFacts draw(Bytes& bytes) {
    RequestFacts facts;
    facts.idempotent = bytes.flag();
    facts.has_body = bytes.flag();
    facts.body_fits_replay = bytes.flag();
    if (bytes.flag()) facts.client_deadline = bytes.one_of(kTimes);
    return facts;
  }

  State& state_;
  RequestFacts facts_;
  Timeline timeline_;
  test::ExchangeCheck check_;
  Exchange exchange_;
  std::string history_;
};

Event draw_fact(Bytes& bytes) {
  const std::uint8_t what = bytes.next() % 16;
  const auto id = static_cast<AttemptId>(what >= 4 && what < 14 ? bytes.next() % 20 : 0);
  switch (what) {
    case 0: return BodyState{bytes.flag(), bytes.flag()};
    case 1: return Delivered{};
    case 2: return Cancelled{Reason::drained};
    case 3: return DownstreamFailed{bytes.one_of(kClientFaults)};
    case 4:
    case 5: return Connected{id, bytes.flag()};
    case 6: return RequestSent{id};
    case 7: return InterimHead{id, static_cast<std::uint16_t>(bytes.flag() ? 103 : 100)};
    case 8:
    case 9: {
      const std::uint16_t status = bytes.one_of(kStatuses);
      const std::uint8_t headers = bytes.next();
      std::optional<Nanos> retry_after;
      if (headers % 4 == 1) retry_after = bytes.flag() ? kForever : bytes.one_of(kTimes);
      return ResponseHead{id, status, headers % 8 == 2 ? HeaderView{kPushback} : HeaderView{}, retry_after};
    }
    case 10: return HeldState{id, bytes.flag(), bytes.flag()};
    case 11: return ResponseDone{id};
    case 12:
    case 13: {
      const Reason why = bytes.one_of(kFaults);
      const Exposure exposure = bytes.one_of(kExposures);
      return AttemptFailed{id, why, exposure, bytes.flag()};
    }
    default: return Tick{};
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes bytes{data, size};
  State state{bytes};
  const auto first = std::make_unique<Request>(state, bytes);
  const auto second = std::make_unique<Request>(state, bytes);
  first->feed(RequestReady{});
  second->feed(RequestReady{});
  while (bytes.left()) {
    const std::uint8_t choice = bytes.next();
    Request& request = (choice & 1) != 0 ? *second : *first;
    if ((choice & 2) != 0) {
      state.now += bytes.one_of(kTimes);
    } else if ((choice & 4) != 0 && request.wakeup() != kNever) {
      state.now = std::max(state.now, request.wakeup());
    }
    request.feed(draw_fact(bytes));
  }
  first->end();
  second->end();
  const std::string left = state.ledger->compare(state.set, &*state.budget);
  if (!left.empty() || state.budget->extras_in_flight() != 0 || state.budget->requests_in_flight() != 0) std::abort();
  return 0;
}
