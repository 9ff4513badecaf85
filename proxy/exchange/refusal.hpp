// proxy/exchange/refusal.hpp
//
// Why something was not let through: the reason, the mechanism it came from, and when asking again may help.
#pragma once

#include <optional>
#include <string_view>

#include "proxy/base/reason.hpp"
#include "proxy/base/time.hpp"
#include "proxy/exchange/timeline.hpp"

namespace outrigger::exchange {

struct Refusal {
  Reason why{};
  Part part{};
  std::optional<Nanos> retry_after;
  std::string_view name;  // of the limit or circuit, interned
};

}  // namespace outrigger::exchange
