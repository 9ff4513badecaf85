// tests/bench/micro/samples.hpp
//
// What several rows are about: the fields of an ordinary answer, rules that have to be looked through in vain, who the
// clients are, and what every worker has of its own.
#pragma once

#include <array>
#include <cstddef>
#include <string>

#include "proxy/base/cache_line.hpp"
#include "proxy/base/header_view.hpp"
#include "proxy/base/rng.hpp"
#include "proxy/base/wakeups.hpp"
#include "proxy/policy/cached_response.hpp"
#include "proxy/policy/classifier.hpp"
#include "proxy/policy/rate_limit.hpp"
#include "tests/bench/micro/bench.hpp"

namespace outrigger::bench {

inline constexpr std::array kAnswerFields = {Field{"Content-Type", "application/json"},
                                             Field{"Content-Length", "512"},
                                             Field{"Date", "Sun, 06 Nov 1994 08:49:37 GMT"},
                                             Field{"Server", "upstream"},
                                             Field{"Cache-Control", "none"},
                                             Field{"X-Request-Id", "018f3c1e7b1a7c3e"},
                                             Field{"Vary", "Accept"},
                                             Field{"grpc-status", "13"}};

/// None of them applies to a 200 with those fields, and each is asked a question that takes a look.
inline policy::Classifier sample_rules() {
  policy::Classifier rules(3);
  rules[0].status.emplace().insert(409, 409);
  rules[0].header = policy::HeaderEquals{"X-Retryable", "true"};
  rules[1].status.emplace().insert(200, 200);
  rules[1].grpc_status = 14;
  rules[2].failure = Reason::attempt_timeout;
  return rules;
}

/// Nobody is refused, even by a worker that is seconds behind the other.
inline policy::RateLimitConfig plenty_of_permits() {
  policy::RateLimitConfig config;
  config.requests = 1e9;
  config.burst = 4'000'000'000;
  return config;
}

/// A thousand clients in turn, in an order that is none of the table's.
class Clients {
 public:
  Clients() {
    for (std::size_t i = 0; i < texts_.size(); ++i) {
      texts_[i] = "192.168." + std::to_string(i / 256) + "." + std::to_string(i % 256);
    }
  }
  const std::string& of(Turn turn) const noexcept {
    return texts_[static_cast<std::size_t>(turn.number * 389 + turn.worker * 17) % texts_.size()];
  }

 private:
  std::array<std::string, 1024> texts_;
};

inline std::array<Padded<Rng>, kWorkers> two_rngs() { return {Padded<Rng>{Rng{1}}, Padded<Rng>{Rng{2}}}; }

struct NobodyWaits final : Wakeups {
  void wake(const Ticket&) noexcept override {}
};

struct EnoughMemory final : policy::CacheMemory {
  bool take(std::uint64_t) noexcept override { return true; }
  void give_back(std::uint64_t) noexcept override {}
};

}  // namespace outrigger::bench
