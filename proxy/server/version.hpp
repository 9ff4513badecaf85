// proxy/server/version.hpp
//
// What this build calls itself.
#pragma once

#include <string_view>

namespace outrigger::server {

inline constexpr const char* kVersion = OUTRIGGER_VERSION;

}  // namespace outrigger::server
