// proxy/net/handshaker.hpp
//
// TLS handshakes of clients, on a thread of their own. One with an RSA key takes a millisecond of arithmetic: on a
// worker, each would make every connection there wait. So each worker has a thread beside it that does nothing else and
// gives way to the worker where they want the same core; the worker gets a connection when bytes can flow on it.
//
// A handshake has as long as a head may take. How many may be under way is bounded by the listener's connections, as
// which they count.
//
// Threads: `begin`, `hurry` and the end are the worker's; `done` is called on the thread of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "proxy/net/loop.hpp"
#include "proxy/net/tls_session.hpp"

namespace outrigger::net {

class Handshaker {
 public:
  struct Job {
    std::size_t listener = 0;
    int descriptor = -1;  // is closed where the handshake fails
    std::string peer;
    std::shared_ptr<const TlsContext> context;
    Nanos timeout{};
  };
  struct Outcome {
    std::size_t listener = 0;
    int descriptor = -1;
    std::string peer;
    std::unique_ptr<TlsSession> tls;
    std::string failure;  // empty: all is well
  };
  using Done = std::function<void(Outcome outcome)>;

  explicit Handshaker(Done done);
  /// Cuts what is under way, without a word about it.
  ~Handshaker();
  Handshaker(const Handshaker&) = delete;
  Handshaker& operator=(const Handshaker&) = delete;

  void begin(Job job);
  /// The process is draining: who has not come far yet has only this long.
  void hurry(Nanos left);

 private:
  class Handshake;

  void end(Handshake& handshake) noexcept;
  void run();

  const Done done_;
  BufferAccount account_{0};
  telemetry::WorkerRow row_;
  Loop loop_{0, 0, account_, row_};
  std::vector<std::unique_ptr<Handshake>> under_way_;  // each knows its place
  std::thread thread_;
};

}  // namespace outrigger::net
