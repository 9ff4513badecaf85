// proxy/net/io_result.hpp
//
// What came of an attempt to move bytes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace outrigger::net {

enum class IoStatus : std::uint8_t {
  ok,     // `bytes` were moved; fewer than asked for means that trying again now is pointless
  again,  // nothing could be moved now
  eof,    // the peer has closed its side
  fault,  // `error` says why
};

struct IoResult {
  IoStatus status = IoStatus::ok;
  std::size_t bytes = 0;
  int error = 0;
};

}  // namespace outrigger::net
