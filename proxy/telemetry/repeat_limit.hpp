// proxy/telemetry/repeat_limit.hpp
//
// Keeps a warning that repeats from filling the log: ten of one message in ten seconds, then silence until the period
// is over; the first line after it says how many were left out. Messages are fixed texts and few, so a small table by
// hash is enough; two that share a place only lose their limit, never a line.
//
// Threads: one owner. Cost: one hash.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

namespace outrigger::telemetry {

class RepeatLimit {
 public:
  static constexpr std::uint32_t kLines = 10;
  static constexpr std::int64_t kPeriodUs = 10'000'000;

  /// How many equal messages were left out before this one; nullopt: leave this one out, too.
  std::optional<std::uint32_t> admit(std::string_view message, std::int64_t now_us) noexcept {
    const std::size_t hash = std::hash<std::string_view>{}(message);
    Entry& entry = entries_[hash % entries_.size()];
    if (entry.hash != hash) {
      entry = {hash, now_us, 1};
      return 0;
    }
    if (now_us - entry.since_us >= kPeriodUs || now_us < entry.since_us) {
      const std::uint32_t left_out = entry.seen > kLines ? entry.seen - kLines : 0;
      entry = {hash, now_us, 1};
      return left_out;
    }
    ++entry.seen;
    if (entry.seen > kLines) return std::nullopt;
    return 0;
  }

 private:
  struct Entry {
    std::size_t hash = 0;
    std::int64_t since_us = 0;
    std::uint32_t seen = 0;
  };
  std::array<Entry, 32> entries_{};
};

}  // namespace outrigger::telemetry
