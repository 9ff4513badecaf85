// proxy/net/listener.hpp
//
// One worker's share of a listening address. It accepts in bounded turns; when the process or the address has as many
// connections as it may have, or descriptors have run out, it pauses for a moment instead of spinning or failing, and
// the kernel's queue holds the rest. No limit is exceeded however many workers accept at once: a place is taken before
// a connection, by adding one and looking whether that was too many.
//
// Threads: one worker.
#pragma once

#include <string>

#include "proxy/net/edge.hpp"
#include "proxy/net/h1_downstream.hpp"
#include "proxy/net/loop.hpp"
#include "proxy/net/transport.hpp"

namespace outrigger::net {

/// Where accepted connections go: to this worker, or to one that has fewer.
class AcceptSink {
 public:
  virtual void accepted(const ListenerInfo& listener, int descriptor, std::string peer) = 0;

 protected:
  ~AcceptSink() = default;
};

class Listener final : private TransportOwner, private LazyTimer {
 public:
  Listener(Edge& edge, int descriptor, const ListenerInfo& info, AcceptSink& sink);
  ~Listener() override { close(); }

  /// Accepts all connections that wait: whoever closes the listener afterwards resets none.
  void accept_waiting();
  void close();
  const ListenerInfo& info() const noexcept { return info_; }

 private:
  static constexpr int kAcceptsPerTurn = 64;
  static constexpr Nanos kPause = std::chrono::milliseconds{100};

  void on_readable() override;
  void on_writable() override {}
  void on_broken() override {}
  void on_due(TimePoint now) override;
  enum class Accepted : std::uint8_t { one, none, failed };
  Accepted accept_one();
  Accepted accept_in_place();
  bool take_place() noexcept;
  void give_place_back() noexcept;
  void pause();

  Edge& edge_;
  Ref<Transport> transport_;
  int descriptor_;
  ListenerInfo info_;
  AcceptSink& sink_;
  bool paused_ = false;
};

}  // namespace outrigger::net
