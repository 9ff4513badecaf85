// tests/support/allocations.hpp
//
// How often the heap was asked. Linking this replaces the global operator new by one that counts per thread, so that a
// test can hold the promise "no allocation on this path" and a benchmark can print allocations per operation.
#pragma once

#include <cstdint>

namespace outrigger::test {

/// Calls of operator new by the calling thread since it began.
std::uint64_t allocations() noexcept;

}  // namespace outrigger::test
