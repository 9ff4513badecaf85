// proxy/base/priority.hpp
//
// How much a request matters when not all can be served. Three levels and no number: a scale that everybody must agree
// on has to be small enough to be remembered at night.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace outrigger {

enum class Priority : std::uint8_t { low, standard, critical };

inline constexpr std::size_t kPriorities = 3;
inline constexpr std::array<std::string_view, kPriorities> kPriorityNames = {"low", "standard", "critical"};

constexpr std::size_t index(Priority priority) noexcept { return static_cast<std::size_t>(priority); }
/// As text that lasts.
constexpr std::string_view to_string(Priority priority) noexcept { return kPriorityNames[index(priority)]; }

/// The priority of that name; nullopt for a name that is none.
constexpr std::optional<Priority> parse_priority(std::string_view name) noexcept {
  for (std::size_t i = 0; i < kPriorities; ++i) {
    if (kPriorityNames[i] == name) return static_cast<Priority>(i);
  }
  return std::nullopt;
}

}  // namespace outrigger
