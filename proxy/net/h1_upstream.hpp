// proxy/net/h1_upstream.hpp
//
// One HTTP/1.1 connection to an endpoint, which carries one request at a time. It writes what it is given, reads heads
// through the framing gate and bodies through the strict decoder, and decides only whether the connection can be used
// again: after a complete exchange in both directions, without `close`, and with nothing behind the response. Whatever
// arrives while nothing is asked means that the connection is out of step, and closes it.
//
// A write error does not end a request: the server may have answered before it closed, and that answer is still to be
// read. The end comes from the reading side.
//
// After a 101 that was asked for it carries bytes without a meaning until both sides have ended, and is then closed.
//
// Life: an open connection holds a reference to itself, which `close` drops; handlers hold one while they run.
//
// Threads: one worker.
#pragma once

#include <cstdint>
#include <string_view>

#include "proxy/base/buffer.hpp"
#include "proxy/http/chunked.hpp"
#include "proxy/http/h1_head.hpp"
#include "proxy/net/connection_pool.hpp"
#include "proxy/net/intrusive.hpp"
#include "proxy/net/transport.hpp"
#include "proxy/net/upstream.hpp"

namespace outrigger::net {

class H1Upstream final : public Counted<H1Upstream>, public UpstreamStream, private TransportOwner, private LazyTimer {
 public:
  /// Takes over a descriptor whose connect is under way.
  H1Upstream(ConnectionPool& pool, int descriptor, UpstreamSink& sink);
  ~H1Upstream() override;

  void start(std::string_view head, std::string_view data, bool chunked, bool answers_head, bool end) override;
  void send_body(std::string_view data) override;
  void send_end(std::string_view trailers) override;
  std::size_t backlog() const override { return out_.size(); }
  bool any_sent() const override { return any_sent_; }
  void resume() override;
  void abort(Reason why) override;

 private:
  friend class Counted<H1Upstream>;
  friend class ConnectionPool;

  enum class State : std::uint8_t { connecting, busy, idle, closed };
  static constexpr std::uint32_t kMaxInterim = 32;
  static constexpr int kReceivesPerTurn = 4;

  /// What one receive brought of a body.
  struct Piece {
    std::string_view data;
    bool end = false;
    bool broken = false;
  };

  void last_reference_gone() noexcept { delete this; }
  void on_readable() override;
  void on_writable() override;
  void on_broken() override;
  void on_due(TimePoint now) override;

  /// The connection stands; with TLS, as far as its handshake goes.
  void connected();
  void reused_for(UpstreamSink& sink);
  /// Whether it has ended, or bytes have come that answer nothing; `look`: even if nothing has been announced.
  bool is_stale(bool look) const noexcept { return (look || transport_->may_have_input()) && transport_->has_input(); }

  void write(std::span<const std::string_view> pieces);
  void flush();
  void stop_writing();
  void request_progress();

  bool receive_once();
  void watch_silence();
  void take_bytes(std::span<char> bytes);
  std::size_t take_head(std::span<char> bytes);
  bool take_switch(std::span<char> bytes, std::size_t head_size);
  void end_tunnel();
  Piece decode(std::span<char> bytes);
  void deliver_body(std::span<char> bytes);
  std::string_view trailers() const noexcept;
  void at_eof();
  void complete();
  void fail(Reason why);
  void close();
  exchange::Exposure exposure() const noexcept;

  Loop& loop() noexcept { return pool_->loop(); }

  Ref<ConnectionPool> pool_;
  Ref<Transport> transport_;
  UpstreamSink* sink_;

  State state_ = State::connecting;
  bool reached_ = false;  // what is left of connecting is the handshake
  bool chunked_request_ = false;
  bool answers_head_ = false;
  bool request_ended_ = false;  // its last byte was accepted
  bool request_sent_ = false;   // its last byte is in the kernel
  bool any_sent_ = false;
  bool write_dead_ = false;
  bool any_received_ = false;
  bool head_done_ = false;
  bool keep_alive_ = false;
  bool stray_ = false;  // bytes behind the response
  bool reused_ = false;
  bool tunnel_ = false;
  bool read_ended_ = false;  // of a tunnel
  http::Framing framing_ = http::Framing::none;
  std::uint32_t interims_ = 0;
  std::uint32_t requests_ = 0;
  std::uint64_t body_left_ = 0;
  TimePoint idle_since_{};
  http::HeadScan scan_;
  http::ChunkDecoder decoder_;
  Buffer in_;   // a head that is not whole yet
  Buffer out_;  // of the request, what the kernel would not take yet

  // Its place in the pool's list of idle connections.
  H1Upstream* newer_ = nullptr;
  H1Upstream* older_ = nullptr;
};

}  // namespace outrigger::net
