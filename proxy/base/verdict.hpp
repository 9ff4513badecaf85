// proxy/base/verdict.hpp
//
// What a policy answers when asked: admitted, or a reason and, where it knows, how long until it would admit.
#pragma once

#include <optional>

#include "proxy/base/reason.hpp"
#include "proxy/base/time.hpp"

namespace outrigger {

struct Verdict {
  std::optional<Reason> refused;     // nullopt: admitted
  std::optional<Nanos> retry_after;  // only with a refusal

  constexpr bool admitted() const noexcept { return !refused.has_value(); }
};

}  // namespace outrigger
