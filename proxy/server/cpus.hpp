// proxy/server/cpus.hpp
//
// How many CPUs this process may use: its affinity mask, and in a container its cgroup's quota, which a count of the
// machine's processors ignores and then pays for with throttling.
#pragma once

#include <cstdint>

namespace outrigger::server {

/// At least 1, at most 256.
std::uint32_t usable_cpus();

}  // namespace outrigger::server
