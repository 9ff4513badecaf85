// tests/fuzz/exchange_events_fuzz.cpp
//
// Any bytes as a plan and as the history of up to four workers' exchanges on its states: a hostile edge that reports
// whatever it likes about whatever attempt, in any order, at any time that does not run backwards. Timers are late,
// wake-ups come late, twice, to the wrong one or never, an operator forces circuits, answers are stored in part. Only
// what an edge can keep from happening does not happen: a request begins once, and begins first; of an attempt that an
// injected fault keeps back nothing is told.
//
// Whatever comes, the promises of ExchangeCheck hold after each fact, and the shared states hold what the requests do.
// Once the bytes are used up, letting time pass and the clients go ends all of them, with everything given back; and
// when an hour has passed a new request gets its attempt, so nothing was left wedged.
//
// The first bytes are the plan, the others the history. What breaks is run once more with every fact on standard error.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "proxy/exchange/exchange.hpp"
#include "tests/fuzz/bytes.hpp"
#include "tests/fuzz/drawn_plan.hpp"
#include "tests/support/exchange_check.hpp"
#include "tests/support/show.hpp"

namespace {

using namespace outrigger;
using namespace outrigger::exchange;
using namespace outrigger::fuzz;
using namespace std::chrono_literals;

constexpr std::size_t kPlanBytes = 208;
constexpr int kStepsToTheEnd = 100;

constexpr std::array kFaults = {Reason::connect_refused, Reason::connect_timeout, Reason::connect_error,
                                Reason::dns_failure,     Reason::tls_failure,     Reason::reset,
                                Reason::closed_early,    Reason::protocol_error,  Reason::response_head_too_large,
                                Reason::pool_full};
constexpr std::array kClientFaults = {Reason::client_disconnected, Reason::body_timeout, Reason::body_too_large,
                                      Reason::bad_request, Reason::client_not_reading};
constexpr std::array<std::uint16_t, 12> kStatuses = {200, 503, 500, 502, 504, 429, 408, 425, 404, 501, 101, 304};
constexpr std::array kExposures = {Exposure::nothing_sent, Exposure::partly_sent, Exposure::fully_sent};
constexpr std::array<std::string_view, 4> kMethods = {"GET", "POST", "PUT", "HEAD"};
constexpr Field kPushback[] = {{"X-Should-Retry", "false"}};
constexpr Field kRefused[] = {{"X-Outrigger-Reason", "circuit_open"}};
constexpr Field kOdd[] = {{"X-Odd", "1"}, {"grpc-status", "14"}};
constexpr std::array<HeaderView, 4> kHeads = {HeaderView{}, kPushback, kRefused, kOdd};
constexpr Field kKeyA[] = {{"X-Key", "a"}};
constexpr Field kKeyB[] = {{"X-Key", "b"}};
constexpr std::array<HeaderView, 3> kKeys = {HeaderView{}, kKeyA, kKeyB};

CacheFacts draw_cache_facts(Bytes& bytes) {
  CacheFacts facts{.key = bytes.one_of(kCacheKeys), .demand = CacheDemand{}};
  const std::uint8_t demand = bytes.next();
  facts.demand->no_cache = (demand & 1) != 0 && (demand & 64) != 0;
  facts.demand->only_if_cached = (demand & 2) != 0 && (demand & 64) != 0;
  facts.demand->no_store = (demand & 4) != 0 && (demand & 64) != 0;
  if ((demand & 8) != 0) facts.demand->max_stale = bytes.one_of(kTimes);
  if ((demand & 16) != 0) facts.demand->min_fresh = bytes.one_of(kTimes);
  if (demand >= 240) facts.demand.reset();
  return facts;
}

CacheTerms draw_cache_terms(Bytes& bytes) {
  const std::uint8_t choice = bytes.next();
  CacheTerms terms{.storable = choice % 8 != 7, .may_be_stale = (choice & 8) == 0};
  if ((choice & 16) != 0) terms.lifetime = bytes.one_of(kTimes);
  if ((choice & 32) != 0) terms.initial_age = bytes.one_of(kTimes);
  return terms;
}

RequestFacts draw_facts(Bytes& bytes, const Ticket& ticket, const Plan& plan) {
  RequestFacts facts;
  facts.ticket = ticket;
  facts.method = bytes.one_of(kMethods);
  facts.idempotent = facts.method != "POST" || bytes.flag();
  const std::uint8_t body = bytes.next();
  facts.has_body = (body & 1) != 0;
  facts.body_fits_replay = (body & 2) == 0;
  facts.body_complete = (body & 32) != 0;
  facts.upgrade = (body & 28) == 28;
  facts.deadline_unreadable = body > 250;
  if (bytes.flag()) facts.client_deadline = bytes.one_of(kTimes);
  facts.priority = bytes.value<Priority>(kPriorities);
  facts.fields = bytes.one_of(kKeys);
  facts.client_ip = facts.fields.empty() ? "10.0.0.1" : "10.0.0.2";
  if (plan.cache.state != nullptr) {
    facts.cache = draw_cache_facts(bytes);
    if (facts.method != "GET" && facts.method != "HEAD") facts.cache->demand.reset();
  }
  if (plan.chaos.state != nullptr) facts.chaos = bytes.up_to(7) != 7;
  return facts;
}

/// What the edge knows of one request.
struct Request {
  Request(DrawnPlan& drawn, const RequestFacts& facts, WorkerLocal& local)
      : check(drawn.plan(), facts, timeline, drawn.ledger()), exchange(drawn.plan(), facts, local, timeline) {}

  Timeline timeline;
  test::ExchangeCheck check;
  Exchange exchange;
  std::optional<StoreResponse> storing;  // while its answer is relayed
};

class History final : private Wakeups {
 public:
  History(Bytes plan, Bytes facts, bool told)
      : facts_(facts), told_(told), drawn_(plan, *this), abandons_(plan.up_to(15) == 1), rng_(plan.next()) {
    for (std::uint32_t i = 0; i < kWorkers; ++i) {
      workers_[i].worker = i;
      workers_[i].rng = Rng{i};
      workers_[i].cursors.resize(2);
    }
  }

  /// Answers with the promise that was broken, or with nothing.
  std::string run() {
    while (facts_.left() && broken_.empty()) step();
    if (abandons_) {
      for (auto& request : requests_) request.reset();
    } else {
      for (std::uint32_t i = 0; i < kWorkers && broken_.empty(); ++i) end(i);
    }
    note(drawn_.at_rest(now_));
    if (broken_.empty()) serve_afterwards();
    for (auto& request : requests_) request.reset();
    note(drawn_.empty_cache());
    return broken_;
  }

 private:
  void wake(const Ticket& ticket) noexcept override { mail_.push_back(ticket.slot); }
  void note(const std::string& what) {
    if (broken_.empty()) broken_ = what;
  }
  Request* running(std::uint32_t worker) {
    Request* request = requests_[worker].get();
    return request == nullptr || request->exchange.finished() ? nullptr : request;
  }

  void begin(std::uint32_t worker, const RequestFacts& facts) {
    requests_[worker] = std::make_unique<Request>(drawn_, facts, workers_[worker]);
    feed(worker, RequestReady{});
  }

  void feed(std::uint32_t worker, const Event& fact) {
    Request* request = requests_[worker].get();
    if (request == nullptr || !broken_.empty()) return;
    if (std::holds_alternative<Delivered>(fact) || std::holds_alternative<ResponseDone>(fact)) stored(*request, true);
    if (std::holds_alternative<AttemptFailed>(fact)) stored(*request, false);
    Actions orders;
    request->exchange.on(now_, fact, orders);
    if (told_) {
      std::fprintf(stderr, "%10s  %u  %s  ->  %s\n", test::show(now_ - TimePoint{1h}).c_str(), worker,
                   test::show(fact).c_str(), test::show(orders).c_str());
    }
    note(request->check.observe(now_, fact, orders, request->exchange));
    note(drawn_.compare(held()));
    for (const Action& order : orders) {
      if (const auto* kept = std::get_if<StoreResponse>(&order)) store(*request, *kept);
    }
  }

  /// Copies an answer while it is relayed, as its head allows and as much of it as the bytes say.
  void store(Request& request, const StoreResponse& order) {
    constexpr std::string_view kBody = "the answer of an upstream, in part";
    constexpr std::array<std::string_view, 1> kVary = {"X-Key"};
    const std::uint8_t choice = facts_.next();
    policy::CacheHead head{.status = request.timeline.attempts[index(order.id)].status,
                           .fields = kHeads[choice % kHeads.size()],
                           .terms = draw_cache_terms(facts_)};
    if ((choice & 4) != 0) head.vary = kVary;
    if ((choice & 8) != 0) head.length = facts_.up_to(40);
    if (!order.fill->begin(*order.config, head, now_)) return;
    if ((choice & 16) != 0) order.fill->append(*order.config, kBody.substr(facts_.up_to(30)), now_);
    request.storing = order;
    if ((choice & 32) != 0) stored(request, (choice & 64) != 0);
  }

  /// The answer has arrived, or what there is of it.
  void stored(Request& request, bool whole) {
    if (!request.storing) return;
    if (!request.exchange.finished()) request.storing->fill->finish(*request.storing->config, whole, now_);
    request.storing.reset();
  }

  Held held() const {
    Held sum;
    for (const auto& request : requests_) {
      if (!request) continue;
      sum.attempts += static_cast<std::uint32_t>(request->check.placed_attempts());
      sum.requests += request->check.inside() ? 1 : 0;
      sum.undecided += request->check.undecided() ? 1 : 0;
    }
    return sum;
  }

  // ---- one step of the history ---------------------------------------------------------------

  void step() {
    const std::uint8_t choice = facts_.next();
    const std::uint32_t worker = choice % kWorkers;
    const std::uint8_t time = choice / 4 % 4;
    if (time == 1) now_ += facts_.one_of(kTimes);
    if (time >= 2) pass_until_wakeup(worker);
    if (time == 3) return feed(worker, Tick{});
    if (running(worker) == nullptr) return begin(worker, draw_facts(facts_, ticket_of(worker), drawn_.plan()));
    happen(worker, choice / 16);
  }

  static Ticket ticket_of(std::uint32_t worker) { return {.worker = worker, .slot = worker}; }

  void pass_until_wakeup(std::uint32_t worker) {
    const Request* request = running(worker);
    if (request != nullptr && request->exchange.wakeup() != kNever) now_ = std::max(now_, request->exchange.wakeup());
  }

  void happen(std::uint32_t worker, std::uint8_t what) {
    switch (what) {
      case 0: return feed(worker, BodyState{facts_.flag(), facts_.flag()});
      case 1: return facts_.flag() ? feed(worker, Delivered{}) : feed(worker, ResponseDone{draw_attempt(worker)});
      case 2: return feed(worker, Connected{draw_attempt(worker), facts_.flag()});
      case 3: return feed(worker, RequestSent{draw_attempt(worker)});
      case 4: return go_out(worker, draw_attempt(worker));
      case 5: return answer(worker, draw_attempt(worker));
      case 6: {
        const AttemptId id = draw_attempt(worker);
        go_out(worker, id);
        return answer(worker, id);
      }
      case 7: return serve_many(worker);
      case 8:
      case 9: return fail(worker, draw_attempt(worker));
      case 10: return feed(worker, HeldState{draw_attempt(worker), facts_.flag(), facts_.flag()});
      case 11: return feed(worker, InterimHead{draw_attempt(worker), facts_.flag() ? kEarlyHints : kContinue});
      case 12: return deliver_mail();
      case 13: return misdirect_mail(worker);
      case 14: return interrupt(worker);
      default: drawn_.disturb(facts_, now_, rng_); return note(drawn_.compare(held()));
    }
  }

  /// Mostly one that there is, the newest first.
  AttemptId draw_attempt(std::uint32_t worker) {
    const std::uint8_t choice = facts_.next();
    const std::size_t count = requests_[worker]->timeline.attempts.size();
    if (choice >= 240 || count == 0) return heard_of(worker, std::size_t{choice} % 20);
    return heard_of(worker, count - 1 - choice % count);
  }

  /// An attempt, or none where an injected fault keeps it from the edge.
  AttemptId heard_of(std::uint32_t worker, std::size_t attempt) const {
    const auto id = static_cast<AttemptId>(attempt);
    return requests_[worker]->check.kept_back(id) ? static_cast<AttemptId>(kMaxAttempts) : id;
  }

  void go_out(std::uint32_t worker, AttemptId id) {
    feed(worker, Connected{id, false});
    feed(worker, RequestSent{id});
  }

  void answer(std::uint32_t worker, AttemptId id) {
    const std::uint16_t status = facts_.one_of(kStatuses);
    const std::uint8_t more = facts_.next();
    std::optional<Nanos> retry_after;
    if (more % 4 == 1) retry_after = facts_.flag() ? kForever : facts_.one_of(kTimes);
    feed(worker, ResponseHead{id, status, kHeads[more / 4 % kHeads.size()], retry_after});
  }

  void fail(std::uint32_t worker, AttemptId id) {
    const Reason why = facts_.one_of(kFaults);
    const Exposure exposure = facts_.one_of(kExposures);
    feed(worker, AttemptFailed{id, why, exposure, facts_.flag()});
  }

  /// Ordinary traffic in few bytes, so that windows fill: one request after the other, all with the same answer.
  void serve_many(std::uint32_t worker) {
    const std::uint32_t times = 1 + facts_.up_to(15);
    const std::uint16_t status = facts_.one_of(kStatuses);
    const Nanos each = facts_.one_of(kTimes);
    for (std::uint32_t i = 0; i < times && broken_.empty(); ++i) {
      if (running(worker) == nullptr) begin(worker, plain_facts(worker));
      const std::size_t attempts = requests_[worker]->timeline.attempts.size();
      const AttemptId id = heard_of(worker, attempts == 0 ? 0 : attempts - 1);
      go_out(worker, id);
      now_ += each;
      feed(worker, ResponseHead{id, status, {}, {}});
      feed(worker, Delivered{});
    }
  }

  /// A wake-up reaches its worker, and perhaps once more.
  void deliver_mail() {
    if (mail_.empty()) return;
    const std::uint32_t slot = mail_.front();
    if (facts_.up_to(3) != 0) mail_.pop_front();
    feed(slot, Woken{});
  }

  /// One is lost, or reaches somebody that it was not for.
  void misdirect_mail(std::uint32_t worker) {
    if (!mail_.empty()) mail_.pop_front();
    if (facts_.flag()) feed(worker, Woken{.ticket = {}, .granted = facts_.flag()});
  }

  void interrupt(std::uint32_t worker) {
    if (facts_.up_to(3) == 0) return feed(worker, Cancelled{Reason::drained});
    feed(worker, DownstreamFailed{facts_.one_of(kClientFaults)});
  }

  // ---- the end -------------------------------------------------------------------------------

  static RequestFacts plain_facts(std::uint32_t worker) {
    RequestFacts facts;
    facts.ticket = ticket_of(worker);
    facts.method = "GET";
    facts.idempotent = true;
    facts.priority = Priority::critical;
    return facts;
  }

  /// Lets time pass, and the client receive its answer or go. Nobody is woken any more.
  void end(std::uint32_t worker) {
    for (int steps = 0; running(worker) != nullptr && broken_.empty(); ++steps) {
      if (steps > kStepsToTheEnd) return note("I1 it does not come to an end");
      const Request& request = *requests_[worker];
      if (request.check.answered()) {
        feed(worker, Delivered{});
      } else if (request.exchange.wakeup() == kNever) {
        feed(worker, DownstreamFailed{Reason::client_disconnected});
      } else {
        pass_until_wakeup(worker);
        feed(worker, Tick{});
      }
    }
  }

  void serve_afterwards() {
    for (auto& request : requests_) request.reset();
    now_ += 1h;
    drawn_.end_forcing();
    if (abandons_) return;
    begin(0, plain_facts(0));
    const bool started = requests_[0]->check.live_attempts() == 1;
    if (drawn_.serves() && !started) note("nothing is under way, and yet a request is not let through");
    end(0);
    note(drawn_.at_rest(now_));
  }

  static constexpr std::uint16_t kContinue = 100;
  static constexpr std::uint16_t kEarlyHints = 103;

  Bytes facts_;
  bool told_;
  std::deque<std::uint32_t> mail_;  // workers to be woken
  DrawnPlan drawn_;
  bool abandons_;  // at the end, as a crash of the edge would
  Rng rng_;        // of the control thread
  std::array<WorkerLocal, kWorkers> workers_;
  std::array<std::unique_ptr<Request>, kWorkers> requests_;
  TimePoint now_{1h};
  std::string broken_;
};

std::string run(const std::uint8_t* data, std::size_t size, bool told) {
  const std::size_t plan = std::min(size, kPlanBytes);
  return History{Bytes{data, plan}, Bytes{data + plan, size - plan}, told}.run();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (run(data, size, false).empty()) return 0;
  std::fprintf(stderr, "%s\n", run(data, size, true).c_str());
  std::abort();
}
