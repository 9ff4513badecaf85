// proxy/base/cache_line.hpp
//
// Shared words live on cache lines of their own: two workers that write neighbouring words would otherwise fight over
// one line without sharing any data. The size is fixed rather than taken from the library constant, whose value may
// differ between translation units compiled with other tuning flags.
#pragma once

#include <cstddef>

namespace outrigger {

inline constexpr std::size_t kCacheLine = 64;

/// A value alone on its cache line.
template <class T>
struct alignas(kCacheLine) Padded {
  T value{};
};

}  // namespace outrigger
