// proxy/net/downstream.hpp
//
// The seam between a request's driver and the client it came from: head, data and end of one answer. A driver may
// outlive its downstream (the client left) or never have one; a protocol with many requests per connection fits behind
// the same interface.
//
// Rules: an answer accepts every byte it is given and reports what the client has not taken yet as `backlog`; the
// driver gives no more until it is told that the backlog is gone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "proxy/exchange/action.hpp"
#include "proxy/http/h1_head.hpp"
#include "proxy/policy/cache.hpp"

namespace outrigger::net {

/// What an answer is marked with on its way to the client.
struct AnswerMarks {
  bool should_not_retry = false;
  std::string_view fallback;  // the reason that it answers for; empty: for none
};

class Downstream {
 public:
  /// Admitted: the body may come (with 100 Continue where the client waits for it).
  virtual void read_body() = 0;
  /// The driver can take more of the body than it could before.
  virtual void resume_body() = 0;

  virtual void send_interim(const http::ResponseHead& head) = 0;
  /// The head of the final answer with the first bytes of its body; `end`: that is all of it, but for the trailers.
  virtual void send_head(const http::ResponseHead& head, const AnswerMarks& marks, std::string_view data, bool end,
                         std::string_view trailers) = 0;
  virtual void send_body(std::string_view data) = 0;
  virtual void send_end(std::string_view trailers) = 0;
  /// Behind the head of a 101: from now on the client's bytes are the request's body, whatever they are, until it ends
  /// its side; the answer goes on after that.
  virtual void open_tunnel() = 0;
  /// No more of the tunnel's bytes will come for the client, which may still send.
  virtual void half_close() = 0;
  /// A whole answer of our own.
  virtual void send_reply(const exchange::Reply& reply) = 0;
  /// A whole answer out of a cache.
  virtual void send_cached(const policy::CacheHit& hit, std::string_view fallback) = 0;
  /// Ends an answer that cannot be completed so that it is not taken for complete.
  virtual void cut() = 0;

  virtual std::size_t backlog() const = 0;
  /// The most that may wait for a slow client.
  virtual std::size_t relay_limit() const = 0;
  /// The most that the head of an answer may have.
  virtual std::size_t max_response_head() const = 0;
  virtual std::uint64_t bytes_sent() const = 0;
  /// The request has ended, whichever way; the driver will not be heard of again.
  virtual void exchange_over() = 0;

 protected:
  ~Downstream() = default;
};

}  // namespace outrigger::net
