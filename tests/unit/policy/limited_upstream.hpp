// tests/unit/policy/limited_upstream.hpp
//
// A small closed loop in virtual time: Poisson arrivals ask an adaptive limit, those admitted go to an upstream that
// serves so many at once and lets the rest stand in line, and every answer is reported to the limit. What an adaptive
// limit is worth shows only in a loop: it changes what it measures.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <functional>
#include <numbers>
#include <optional>
#include <queue>
#include <utility>
#include <vector>

#include "proxy/policy/adaptive_limit.hpp"

namespace outrigger::test {

struct UnheardWakeups final : Wakeups {
  void wake(const Ticket&) noexcept override {}
};

class LimitedUpstream {
 public:
  struct Shape {
    double capacity = 50;                           // served at once
    Nanos service = std::chrono::milliseconds{20};  // mean
    double sigma = 0.02;                            // of the lognormal service time
    double load = 3;                                // arrivals, in multiples of the capacity
  };
  /// In flight over capacity, as means of whole seconds without a probe in them.
  struct Seen {
    double least = 1e9;
    double most = 0;
    int seconds = 0;
  };

  LimitedUpstream(const policy::AdaptiveLimitConfig& config, const Shape& shape, std::uint64_t seed)
      : config_(config), shape_(shape), rng_(seed), limit_(config, wakeups_, 1) {}

  policy::AdaptiveLimit& limit() { return limit_; }
  Shape& shape() { return shape_; }
  TimePoint now() const { return now_; }
  std::uint64_t served() const { return served_; }
  double baseline_ratio() const { return static_cast<double>(limit_.baseline().count()) / service_ns(); }

  /// Runs for `length`; `on_second` is called at the end of each second.
  Seen run(Nanos length, const std::function<void()>& on_second = {}) {
    Seen seen;
    const TimePoint end = now_ + length;
    TimePoint second_end = now_ + std::chrono::seconds{1};
    bool probed = limit_.probing();
    double area = 0;
    while (now_ < end) {
      const TimePoint next = std::min({next_arrival(), next_answer(), second_end});
      area += static_cast<double>(limit_.in_flight()) * static_cast<double>((next - now_).count());
      now_ = next;
      if (now_ == second_end) {
        if (!probed) note(seen, area / 1e9 / shape_.capacity);
        if (on_second) on_second();
        area = 0;
        probed = limit_.probing();
        second_end += std::chrono::seconds{1};
      } else if (now_ == next_answer()) {
        answer();
      } else {
        arrive();
      }
      probed = probed || limit_.probing();
    }
    return seen;
  }

  /// One result that is not of the upstream's doing, such as a refused connection.
  void report(policy::LimitSample sample, Nanos latency) { limit_.on_result(config_, 0, sample, latency, now_, rng_); }

 private:
  struct Served {
    TimePoint done;
    TimePoint sent;
    friend bool operator>(const Served& a, const Served& b) { return a.done > b.done; }
  };

  static void note(Seen& seen, double ratio) {
    seen.least = std::min(seen.least, ratio);
    seen.most = std::max(seen.most, ratio);
    ++seen.seconds;
  }
  double service_ns() const { return static_cast<double>(shape_.service.count()); }
  double normal() {
    const double radius = std::sqrt(-2 * std::log(1 - rng_.uniform()));
    return radius * std::cos(2 * std::numbers::pi * rng_.uniform());
  }
  Nanos draw_service() {
    const double sigma = shape_.sigma;
    return Nanos{static_cast<std::int64_t>(service_ns() * std::exp(sigma * normal() - sigma * sigma / 2))};
  }
  TimePoint next_answer() const { return in_service_.empty() ? kNever : in_service_.top().done; }
  TimePoint next_arrival() {
    if (!arrival_) {
      const double gap = -std::log(1 - rng_.uniform()) * service_ns() / (shape_.capacity * shape_.load);
      arrival_ = shape_.load > 0 ? now_ + Nanos{static_cast<std::int64_t>(gap)} : kNever;
    }
    return *arrival_;
  }
  void arrive() {
    arrival_.reset();
    policy::GateAdmission admission = limit_.admit(config_, Priority::standard, nullptr);
    if (!admission.permit) return;
    permits_.push_back(std::move(admission.permit));
    if (static_cast<double>(in_service_.size()) < shape_.capacity) {
      in_service_.push({now_ + draw_service(), now_});
    } else {
      in_line_.push_back(now_);
    }
  }
  void answer() {
    const Served done = in_service_.top();
    in_service_.pop();
    ++served_;
    limit_.on_result(config_, 0, policy::LimitSample::good, done.done - done.sent, now_, rng_);
    permits_.pop_back();
    if (in_line_.empty()) return;
    in_service_.push({now_ + draw_service(), in_line_.front()});
    in_line_.pop_front();
  }

  policy::AdaptiveLimitConfig config_;
  Shape shape_;
  Rng rng_;
  UnheardWakeups wakeups_;
  policy::AdaptiveLimit limit_;
  TimePoint now_{std::chrono::hours{1}};
  std::optional<TimePoint> arrival_;
  std::priority_queue<Served, std::vector<Served>, std::greater<>> in_service_;
  std::deque<TimePoint> in_line_;
  std::vector<policy::GatePermit> permits_;
  std::uint64_t served_ = 0;
};

}  // namespace outrigger::test
