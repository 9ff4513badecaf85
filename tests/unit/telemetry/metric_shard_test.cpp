#include "proxy/telemetry/metric_shard.hpp"

#include <doctest/doctest.h>

#include "tests/unit/telemetry/sample_timeline.hpp"

using namespace outrigger;
using namespace outrigger::telemetry;

TEST_SUITE("telemetry") {
  TEST_CASE("a duration on a bucket's bound belongs to that bucket and one past it to the next") {
    const Buckets buckets{{0.005, 0.01}};
    Histogram histogram{buckets};
    histogram.observe(5ms);
    histogram.observe(5ms + 1ns);
    histogram.observe(1h);
    CHECK(histogram.count(0) == 1);
    CHECK(histogram.count(1) == 1);
    CHECK(histogram.count(2) == 1);
    CHECK(histogram.sum() == 1h + 10ms + 1ns);
  }

  TEST_CASE("a duration that was never measured counts as zero and does not spoil the sum") {
    const Buckets buckets{{0.005}};
    Histogram histogram{buckets};
    histogram.observe(exchange::kAbsent);
    CHECK(histogram.count(0) == 1);
    CHECK(histogram.sum() == 0ns);
  }

  TEST_CASE("a row is the same for the same name and another for another worker") {
    MetricRegistry registry(2, {0.1});
    PolicyRow* row = registry.policy_row(0, "payments");
    CHECK(registry.policy_row(0, "payments") == row);
    CHECK(registry.policy_row(1, "payments") != row);
    CHECK(registry.policy_row(0, "users") != row);
    CHECK(registry.attempt_row(0, "payments", "a") != registry.attempt_row(0, "payments", "b"));
    CHECK(registry.rate_limit_row(0, "shared", "payments") != registry.rate_limit_row(0, "shared", "users"));
    CHECK(registry.bulkhead_row(0, "shared") == registry.bulkhead_row(0, "shared"));
  }
}
