// proxy/server/demo.hpp
//
// `outrigger demo`: the real sidecar in front of an upstream that misbehaves on purpose, so that a newcomer sees a
// retry and its timeline a minute after building, without writing a file. Everything stays on loopback.
#pragma once

#include <cstdint>

namespace outrigger::server {

struct DemoOptions {
  std::uint16_t port = 8080;        // of the proxy; another one is taken where it is in use
  std::uint16_t admin_port = 9901;  // likewise
};

/// Runs until a signal; returns the exit code.
int run_demo(const DemoOptions& options);

}  // namespace outrigger::server
