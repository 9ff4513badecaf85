// proxy/server/flaky_upstream.hpp
//
// The upstream of the demo: a small HTTP server on loopback that answers most requests, fails some with 503, lets some
// hang and resets some. Boost.Beast does all of its HTTP; it is a plain server, not part of the data path.
//
// Threads: one of its own, from construction to destruction.
#pragma once

#include <cstdint>
#include <memory>

namespace outrigger::server {

class FlakyUpstream {
 public:
  FlakyUpstream();
  ~FlakyUpstream();
  FlakyUpstream(const FlakyUpstream&) = delete;
  FlakyUpstream& operator=(const FlakyUpstream&) = delete;

  std::uint16_t port() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace outrigger::server
