// proxy/net/faults.hpp
//
// What the kernel says went wrong, in the words of the contract; translated here and nowhere else.
#pragma once

#include "proxy/base/reason.hpp"

namespace outrigger::net {

/// Why a connection could not be made. `error` is an errno value.
Reason connect_fault(int error) noexcept;

/// Why an established connection ended. A clean end of the stream is `closed_early` and has no errno.
Reason stream_fault(int error) noexcept;

}  // namespace outrigger::net
