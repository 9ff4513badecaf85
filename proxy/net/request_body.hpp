// proxy/net/request_body.hpp
//
// The body of a request on its way through: what has been received and may still be needed. While it is replayable, all
// of it is kept, so that another attempt can begin at its first byte; once it is not, only what has not reached an
// upstream yet. Each attempt remembers its own position in it: several may be under way, and one that was put aside can
// go on where it stopped. The bounds are the policy's replay limit and the relay limit, and memory is charged to the
// process-wide account; where either says no, the body goes on as a stream and is no longer replayable.
//
// Threads: one worker.
#pragma once

#include <cstdint>
#include <string_view>

#include "proxy/base/buffer.hpp"
#include "proxy/net/buffer_account.hpp"

namespace outrigger::net {

class RequestBody {
 public:
  explicit RequestBody(BufferAccount& account) noexcept : charge_(account, BufferKind::replay) {}

  /// Begins a body; `replay_limit` 0 keeps nothing for later.
  void begin(std::uint64_t replay_limit, bool replayable) noexcept {
    replay_limit_ = replay_limit;
    replayable_ = replayable;
    complete_ = false;
    first_ = 0;
  }
  /// Forgets everything; small memory is kept for the next request.
  void end() noexcept {
    if (kept_.capacity() > kKeepCapacity) kept_.release();
    kept_.clear();
    charge_.set(0);
    replayable_ = false;
  }

  bool replayable() const noexcept { return replayable_; }
  bool complete() const noexcept { return complete_; }
  void set_complete() noexcept { complete_ = true; }

  /// How many bytes have been received.
  std::uint64_t size() const noexcept { return first_ + kept_.size(); }
  /// How many of them are held.
  std::size_t held() const noexcept { return kept_.size(); }
  /// Whether everything behind the first `position` bytes is still held.
  bool holds(std::uint64_t position) const noexcept { return position >= first_; }
  /// What has been received behind the first `position` bytes, all of which must be held.
  std::string_view from(std::uint64_t position) const noexcept {
    return kept_.view().substr(static_cast<std::size_t>(position - first_));
  }

  /// The first `position` bytes have reached an upstream; they are forgotten unless another attempt may need them.
  void forget_before(std::uint64_t position) noexcept {
    if (replayable_ || position <= first_) return;
    kept_.consume(static_cast<std::size_t>(position - first_));
    first_ = position;
    charge_.set(kept_.size());
  }
  /// Bytes were received that an upstream took at once: they need not be held. Only where nothing else is.
  void pass(std::size_t bytes) noexcept { first_ += bytes; }

  /// No attempt will begin anew once bytes have reached an upstream.
  void drop_replay() noexcept { replayable_ = false; }

  /// How many more bytes can be kept without losing what came first.
  std::uint64_t replay_room() const noexcept {
    return replayable_ && kept_.size() < replay_limit_ ? replay_limit_ - kept_.size() : 0;
  }

  /// Keeps bytes for the attempts under way or a later one. Where they fit neither the replay limit nor the account,
  /// the body ceases to be replayable; nothing is lost.
  void keep(std::string_view data) {
    if (replayable_ && (data.size() > replay_room() || !charge_.try_set(kept_.size() + data.size()))) drop_replay();
    kept_.append(data);
    charge_.set(kept_.size());
  }

 private:
  static constexpr std::size_t kKeepCapacity = 16 * 1024;

  Buffer kept_;
  BufferCharge charge_;
  std::uint64_t first_ = 0;  // how many bytes came before what is kept
  std::uint64_t replay_limit_ = 0;
  bool replayable_ = false;
  bool complete_ = false;
};

}  // namespace outrigger::net
