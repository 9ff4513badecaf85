#include <chrono>
#include <vector>

#include "proxy/policy/chaos.hpp"
#include "proxy/policy/classifier.hpp"
#include "proxy/policy/fallback.hpp"
#include "proxy/policy/pushback.hpp"
#include "tests/bench/micro/bench.hpp"

namespace {

using namespace outrigger;
using namespace outrigger::bench;
using namespace outrigger::policy;
using namespace std::chrono_literals;

/// What is decided at the head of an answer, and what chaos does to an attempt.
void verdicts(const Bench& bench) {
  const std::vector<Field> fields = {{"Content-Type", "application/json"},
                                     {"Content-Length", "512"},
                                     {"Date", "Sun, 06 Nov 1994 08:49:37 GMT"},
                                     {"Server", "upstream"},
                                     {"Cache-Control", "none"},
                                     {"X-Request-Id", "018f3c1e7b1a7c3e"},
                                     {"Vary", "Accept"},
                                     {"grpc-status", "13"}};

  Classifier rules(3);
  rules[0].status.emplace().insert(409, 409);
  rules[0].header = HeaderEquals{"X-Retryable", "true"};
  rules[1].status.emplace().insert(200, 200);
  rules[1].grpc_status = 14;
  rules[2].failure = Reason::attempt_timeout;
  bench("classify, http alone", [&] { keep(classify({}, "GET", 200, fields)); });
  bench("classify, three rules, none applies", [&] { keep(classify(rules, "GET", 200, fields)); });
  bench("pushback, eight fields", [&] { keep(pushes_back(fields)); });

  FallbackConfig fallback;
  fallback.reasons = {Reason::circuit_open};
  fallback.statuses.insert(500, 599);
  bench("fallback, does it match", [&] { keep(matches(fallback, {.reason = Reason::http_4xx, .status = 404})); });

  Chaos chaos;
  ChaosConfig config;
  config.delay = ChaosDelay{.probability = 0.1, .min = 1ms, .max = 2ms};
  config.abort = ChaosAbort{.probability = 0.1};
  bench.shared("chaos, roll", [&](std::uint32_t) { keep(chaos.roll(config, 0)); });
}

const BenchGroup group{verdicts};

}  // namespace
