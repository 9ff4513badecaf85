// proxy/net/transport.hpp
//
// One connection's bytes, readiness style: `recv` and `send` never wait, `watch_*` asks to be told once when trying
// again makes sense. No buffer is attached to a connection that waits, which a completion-style read would need; idle
// connections therefore cost a few hundred bytes. All sides use this class alone, so that another byte layer (TLS on
// the descriptor, an epoll set of our own) replaces one file.
//
// Life: an owner holds a Ref and detaches when it is done; a wait that is still pending keeps the object alive and
// finds no owner. Handler memory is part of the object, so that waiting allocates nothing.
//
// Threads: one worker.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <string_view>

#include "proxy/net/asio.hpp"
#include "proxy/net/intrusive.hpp"

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

class TransportOwner {
 public:
  virtual void on_readable() = 0;
  virtual void on_writable() = 0;
  /// The connection is broken; a reset is seen even while unread bytes keep `on_readable` from being asked for.
  virtual void on_broken() = 0;

 protected:
  ~TransportOwner() = default;
};

/// Room for one pending handler at a time, inside its owner.
class HandlerMemory {
 public:
  static constexpr std::size_t kBytes = 160;
  void* allocate(std::size_t bytes) {
    if (in_use_ || bytes > kBytes) return ::operator new(bytes);
    in_use_ = true;
    return storage_;
  }
  void deallocate(void* memory) noexcept {
    if (memory == static_cast<void*>(storage_)) {
      in_use_ = false;
    } else {
      ::operator delete(memory);
    }
  }

 private:
  alignas(std::max_align_t) std::byte storage_[kBytes];
  bool in_use_ = false;
};

template <class T>
class HandlerAllocator {
 public:
  using value_type = T;
  explicit HandlerAllocator(HandlerMemory& memory) noexcept : memory_(&memory) {}
  template <class U>
  HandlerAllocator(const HandlerAllocator<U>& other) noexcept : memory_(other.memory_) {}

  T* allocate(std::size_t count) { return static_cast<T*>(memory_->allocate(count * sizeof(T))); }
  void deallocate(T* memory, std::size_t) noexcept { memory_->deallocate(memory); }

  template <class U>
  bool operator==(const HandlerAllocator<U>& other) const noexcept {
    return memory_ == other.memory_;
  }

 private:
  template <class U>
  friend class HandlerAllocator;
  HandlerMemory* memory_;
};

class Transport : public Counted<Transport> {
 public:
  /// Takes over a connected or connecting, non-blocking descriptor.
  Transport(IoContext& io, int descriptor, TransportOwner& owner);

  IoResult recv(std::span<char> into) noexcept;
  IoResult send(std::string_view bytes) noexcept;
  /// Several pieces (at most kMaxPieces) in one call.
  IoResult send(std::span<const std::string_view> pieces) noexcept;
  static constexpr std::size_t kMaxPieces = 4;
  /// Bytes that are readable without any readiness being announced.
  std::size_t pending() const noexcept { return 0; }

  /// Ask once; the owner is told once. Asking again while asked is nothing.
  void watch_read();
  void watch_write();
  void watch_broken();

  /// Whether the peer has closed its side or reset, looked up without reading.
  bool peer_has_closed() const noexcept;
  /// Whether there is something to read, be it bytes or the end.
  bool has_input() const noexcept;
  /// The pending error of a connect that has become writable; 0: connected.
  int connect_error() const noexcept;

  void shutdown_send() noexcept;
  /// Closes and lets go of the owner.
  void close() noexcept;
  /// Closes with a reset instead of an orderly end.
  void reset() noexcept;
  bool open() const noexcept { return owner_ != nullptr; }
  int descriptor() { return descriptor_.native_handle(); }

 private:
  friend class Counted<Transport>;
  void last_reference_gone() noexcept { delete this; }

  template <int Which>
  struct Handler;
  template <int Which>
  void watch(Descriptor::wait_type what);

  Descriptor descriptor_;
  int fd_;
  TransportOwner* owner_;
  bool watching_[3] = {false, false, false};
  HandlerMemory memory_[2];
};

}  // namespace outrigger::net
