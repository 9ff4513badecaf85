// proxy/policy/status_set.hpp
//
// A set of final response statuses, as a configuration names them: `503`, `5xx`, `502-504`. One bit each, because it is
// asked for every response of a policy that has one.
#pragma once

#include <bitset>
#include <cstdint>

namespace outrigger::policy {

class StatusSet {
 public:
  static constexpr std::uint16_t kFirst = 100;
  static constexpr std::uint16_t kLast = 599;

  /// Adds the statuses from `first` to `last`, both included; what is no status is left out.
  void insert(std::uint16_t first, std::uint16_t last) noexcept {
    for (std::uint32_t status = first; status <= last; ++status) {
      if (is_status(status)) bits_.set(status - kFirst);
    }
  }
  bool contains(std::uint16_t status) const noexcept { return is_status(status) && bits_.test(status - kFirst); }
  bool empty() const noexcept { return bits_.none(); }

  friend bool operator==(const StatusSet&, const StatusSet&) = default;

 private:
  static constexpr bool is_status(std::uint32_t status) noexcept { return status >= kFirst && status <= kLast; }

  std::bitset<kLast - kFirst + 1> bits_;
};

}  // namespace outrigger::policy
