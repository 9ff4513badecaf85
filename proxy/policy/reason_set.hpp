// proxy/policy/reason_set.hpp
//
// A set of reasons: what a circuit counts as a failure, what a fallback answers for.
#pragma once

#include <bitset>
#include <initializer_list>

#include "proxy/base/reason.hpp"

namespace outrigger::policy {

class ReasonSet {
 public:
  ReasonSet() noexcept = default;
  ReasonSet(std::initializer_list<Reason> reasons) noexcept {
    for (const Reason reason : reasons) insert(reason);
  }

  void insert(Reason reason) noexcept { bits_.set(static_cast<std::size_t>(reason)); }
  bool contains(Reason reason) const noexcept { return bits_.test(static_cast<std::size_t>(reason)); }
  bool empty() const noexcept { return bits_.none(); }

  friend bool operator==(const ReasonSet&, const ReasonSet&) = default;

 private:
  std::bitset<kReasonCount> bits_;
};

}  // namespace outrigger::policy
