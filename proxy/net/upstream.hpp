// proxy/net/upstream.hpp
//
// The seam between an attempt and the protocol it is made over: head, data, end, and reset of one request stream. A
// protocol that carries many streams on a connection fits behind the same two interfaces.
//
// Rules: a stream accepts every byte it is given and reports what it could not pass on yet as `backlog`; its user gives
// no more until `on_drained`. After a 101 the stream is a tunnel: bytes go both ways, and each side ends by itself,
// ours with `send_end` and the other with `on_half_closed`; `on_end` comes when both have. After `on_response` or
// `on_end` with the end, after `on_failed` and after `abort`, the stream belongs to nobody and says nothing more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "proxy/exchange/event.hpp"
#include "proxy/http/h1_head.hpp"

namespace outrigger::net {

/// What a stream tells the attempt it works for.
class UpstreamSink {
 public:
  /// A fresh connection stands.
  virtual void on_connected() = 0;
  /// The last byte of the request is in the kernel.
  virtual void on_request_sent() = 0;
  /// Everything accepted so far is in the kernel.
  virtual void on_drained() = 0;
  virtual void on_interim(const http::ResponseHead& head) = 0;
  /// The final head, as parsed and as received, with the body bytes that came along; `end`: that is all of it, but for
  /// the trailers. Views are valid during the call.
  virtual void on_response(const http::ResponseHead& head, std::string_view raw, std::string_view data, bool end,
                           std::string_view trailers) = 0;
  virtual void on_data(std::string_view data) = 0;
  virtual void on_end(std::string_view trailers) = 0;
  /// The other side of a tunnel has sent all that it will.
  virtual void on_half_closed() {}
  virtual void on_failed(Reason why, exchange::Exposure exposure, bool reused) = 0;
  /// How many body bytes may be received now; 0: none until `resume`.
  virtual std::size_t response_allowance() const = 0;
  /// Whether what comes is for a client, who takes it when he can.
  virtual bool is_relayed() const { return false; }
  /// The most that the head of the answer may have.
  virtual std::size_t max_response_head() const = 0;
  /// The protocol that a 101 may switch to; empty: none was asked for.
  virtual std::string_view asked_upgrade() const { return {}; }

 protected:
  ~UpstreamSink() = default;
};

/// What an attempt asks of its stream.
class UpstreamStream {
 public:
  /// Sends the head and the body bytes at hand; `end`: that is the whole request.
  virtual void start(std::string_view head, std::string_view data, bool chunked, bool answers_head, bool end) = 0;
  virtual void send_body(std::string_view data) = 0;
  virtual void send_end(std::string_view trailers) = 0;
  /// Bytes accepted and not yet in the kernel.
  virtual std::size_t backlog() const = 0;
  /// Whether at least one byte of the request has reached the kernel.
  virtual bool any_sent() const = 0;
  /// Receives again after the allowance had run out.
  virtual void resume() = 0;
  /// Ends the attempt and its connection at once.
  virtual void abort(Reason why) = 0;

 protected:
  ~UpstreamStream() = default;
};

}  // namespace outrigger::net
