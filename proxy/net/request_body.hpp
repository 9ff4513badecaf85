// proxy/net/request_body.hpp
//
// The body of a request on its way through: what has been received and may still be needed. While it is replayable, all
// of it is kept, so that another attempt can begin at its first byte; once it is not, only what the running attempt has
// not taken yet. The bounds are the policy's replay limit and the relay limit, and memory is charged to the
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
    taken_ = 0;
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

  /// What the running attempt has not taken yet.
  std::string_view unsent() const noexcept { return kept_.view().substr(taken_); }
  /// The running attempt has taken all of `unsent`.
  void take_all() noexcept { taken_ = kept_.size(); }
  /// What was taken has reached an upstream; it is forgotten unless another attempt may need it.
  void forget_taken() noexcept {
    if (!replayable_) drop_taken();
  }
  /// Another attempt begins at the first byte that is held.
  void rewind() noexcept { taken_ = 0; }

  /// No attempt will begin anew once bytes have reached an upstream.
  void drop_replay() noexcept { replayable_ = false; }

  /// How many more bytes can be kept without losing what came first.
  std::uint64_t replay_room() const noexcept {
    return replayable_ && kept_.size() < replay_limit_ ? replay_limit_ - kept_.size() : 0;
  }

  /// Keeps bytes for the running attempt or a later one. Where they fit neither the replay limit nor the account, the
  /// body ceases to be replayable; nothing is lost.
  void keep(std::string_view data) {
    if (replayable_ && (data.size() > replay_room() || !charge_.try_set(kept_.size() + data.size()))) drop_replay();
    kept_.append(data);
    charge_.set(kept_.size());
  }

 private:
  static constexpr std::size_t kKeepCapacity = 16 * 1024;

  void drop_taken() noexcept {
    kept_.consume(taken_);
    taken_ = 0;
    charge_.set(kept_.size());
  }

  Buffer kept_;
  BufferCharge charge_;
  std::uint64_t replay_limit_ = 0;
  std::size_t taken_ = 0;
  bool replayable_ = false;
  bool complete_ = false;
};

}  // namespace outrigger::net
