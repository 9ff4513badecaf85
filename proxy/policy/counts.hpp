// proxy/policy/counts.hpp
//
// What a limit counts: whole requests, asked once in front of the attempt loop, or each attempt, asked in it.
#pragma once

#include <cstdint>

namespace outrigger::policy {

enum class Counts : std::uint8_t { attempt, request };

}  // namespace outrigger::policy
