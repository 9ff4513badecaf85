// proxy/net/clock.hpp
//
// The only clock reads and the only source of entropy of the program. Everything that decides takes both as arguments.
#pragma once

#include <cstdint>

#include "proxy/base/time.hpp"

namespace outrigger::net {

/// For every decision: never goes backwards.
TimePoint steady_now() noexcept;

/// For people and for HTTP dates: microseconds since 1970 UTC.
std::int64_t wall_now_us() noexcept;

/// A seed that nobody can guess.
std::uint64_t entropy() noexcept;

}  // namespace outrigger::net
