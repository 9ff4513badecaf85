#include "proxy/config/load_blocks.hpp"

namespace outrigger::config {
namespace {

using policy::AdaptiveLimitConfig;
using policy::AimdConfig;
using policy::GradientConfig;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

void read_aimd(Block& block, AimdConfig& aimd) {
  block.number("tolerance", aimd.tolerance, {1.01, 10});
  block.fraction("decrease", aimd.decrease, {0.1, 0.99});
  block.integer("increase", aimd.increase, {1, 1000});
  block.fraction("smoothing", aimd.smoothing, {0.001, 1});
  block.duration("baseline_window", aimd.baseline_window, {seconds{1}, hours{1}});
}

void read_gradient(Block& block, GradientConfig& gradient) {
  block.fraction("quantile", gradient.quantile, {0.01, 0.999});
  block.block("window", "gradient_window", [&](Block& window) {
    window.duration("min", gradient.window_min, {milliseconds{10}, hours{1}});
    window.duration("max", gradient.window_max, {milliseconds{10}, hours{1}});
    window.integer("min_samples", gradient.min_samples, {1, 100'000});
  });
  block.integer("baseline_age", gradient.baseline_age, {1, 1000});
  block.integer("correlation_window", gradient.correlation_window, {10, 1000});
  block.number("max_factor", gradient.max_factor, {1, 100});
}

}  // namespace

void read_adaptive_limit(Block& block, AdaptiveLimitConfig& limit) {
  block.choice("algorithm", limit.algorithm, kLimitAlgorithms);
  block.integer("initial", limit.initial, {1, kMaxPlaces});
  block.integer("min", limit.min, {1, kMaxPlaces});
  block.integer("max", limit.max, {1, kMaxPlaces});
  block.integer("queue", limit.queue, {0, kMaxQueue});
  block.duration("max_wait", limit.max_wait, {Nanos{0}, hours{1}});
  read_priorities(block, limit.priorities);
  block.block("aimd", "aimd", [&](Block& aimd) { read_aimd(aimd, limit.aimd); });
  block.block("gradient", "gradient", [&](Block& gradient) { read_gradient(gradient, limit.gradient); });
}

void read_adaptive_throttle(Block& block, policy::AdaptiveThrottleConfig& throttle) {
  block.fraction("failure_rate", throttle.failure_rate, {0, 0.99});
  block.integer("minimum_calls", throttle.minimum_calls, {1, 100'000});
  block.duration("window", throttle.window, {seconds{1}, hours{1}});
  block.fraction("max_rejection", throttle.max_rejection, {0.01, 1});
  block.boolean("priorities", throttle.priorities);
}

}  // namespace outrigger::config
