// proxy/base/ensure.hpp
//
// ENSURE(condition) states an invariant of our own code and stays on in every build: a leaked permit or a broken state
// machine in a proxy is worse than a restart. It must be unreachable from the network and from configuration files;
// hostile input is answered, never asserted on.
#pragma once

namespace outrigger {

/// Prints the broken invariant to standard error and aborts.
[[noreturn]] void ensure_failed(const char* condition, const char* file, int line) noexcept;

}  // namespace outrigger

#define ENSURE(condition) \
  (static_cast<bool>(condition) ? static_cast<void>(0) : ::outrigger::ensure_failed(#condition, __FILE__, __LINE__))
