#include "proxy/policy/bulkhead.hpp"

#include <utility>
#include <vector>

#include <doctest/doctest.h>

using namespace outrigger;
using namespace outrigger::policy;
using namespace std::chrono_literals;

namespace {

struct Deaf final : Wakeups {
  void wake(const Ticket&) noexcept override {}
};

struct Asked {
  explicit Asked(const BulkheadConfig& given) : config(given) {}

  GateAnswer take(Priority priority = Priority::standard, GateWaiter* may_wait = nullptr) {
    GateAdmission admission = bulkhead.admit(config, priority, may_wait);
    if (admission.permit) permits.push_back(std::move(admission.permit));
    return admission.answer;
  }

  Deaf wakeups;
  BulkheadConfig config;
  Bulkhead bulkhead{wakeups};
  std::vector<GatePermit> permits;
};

}  // namespace

TEST_SUITE("policy") {
  TEST_CASE("a bulkhead without priorities is one level of all its places") {
    Asked asked{{.max_concurrent = 2}};
    CHECK(asked.bulkhead.peek(asked.config, Priority::low) == GateAnswer::admitted);
    CHECK(asked.take(Priority::low) == GateAnswer::admitted);
    CHECK(asked.take(Priority::low) == GateAnswer::admitted);
    CHECK(asked.take(Priority::critical) == GateAnswer::full);
    asked.permits.pop_back();
    CHECK(asked.take(Priority::critical) == GateAnswer::admitted);
    CHECK(asked.bulkhead.in_flight() == 2);
  }

  TEST_CASE("full and shed are different reasons, and at full capacity even the lowest hears full") {
    Asked asked{{.max_concurrent = 4, .priorities = {{0.5, 1, 1}}}};
    asked.take();
    asked.take();
    CHECK(bulkhead_refusal(asked.take(Priority::low)) == Reason::shed_load);
    asked.take();
    asked.take();
    CHECK(bulkhead_refusal(asked.take(Priority::low)) == Reason::bulkhead_full);
    CHECK(bulkhead_refusal(GateAnswer::admitted) == std::nullopt);
    CHECK(bulkhead_refusal(GateAnswer::waiting) == std::nullopt);
  }

  TEST_CASE("a queue without time to wait is none") {
    Asked asked{{.max_concurrent = 1, .max_queue = 5}};
    GateWaiter waiter;
    asked.take();
    CHECK(asked.take(Priority::standard, &waiter) == GateAnswer::full);
    asked.config.max_wait = 1ms;
    CHECK(asked.take(Priority::standard, &waiter) == GateAnswer::waiting);
    CHECK(asked.bulkhead.queued() == 1);
    CHECK(asked.bulkhead.queued(Priority::standard) == 1);
    asked.permits.clear();
    CHECK(asked.bulkhead.leave(waiter));
    CHECK(asked.bulkhead.in_flight() == 0);
  }

  TEST_CASE("after a reload that gives more places those who wait get them") {
    Asked asked{{.max_concurrent = 1, .max_queue = 5, .max_wait = 1s}};
    GateWaiter first;
    GateWaiter second;
    asked.take();
    asked.take(Priority::standard, &first);
    asked.take(Priority::standard, &second);
    asked.config.max_concurrent = 2;
    asked.bulkhead.raise(asked.config);
    CHECK(first.state() == GateWaiter::State::granted);
    CHECK(second.state() == GateWaiter::State::waiting);
    CHECK(asked.bulkhead.in_flight() == 2);
  }

  TEST_CASE("a bulkhead that was left alone for long has all its places") {
    Asked asked{{.max_concurrent = 3}};
    for (int round = 0; round < 1000; ++round) {
      for (int i = 0; i < 3; ++i) CHECK(asked.take() == GateAnswer::admitted);
      CHECK(asked.take() == GateAnswer::full);
      asked.permits.clear();
    }
    CHECK(asked.bulkhead.in_flight() == 0);
  }
}
