// proxy/net/h1_downstream.hpp
//
// One client connection: heads through the framing gate, one request at a time, answers in order, keep-alive. It reads
// through the worker's scratch buffer and owns memory only while bytes must survive the event that brought them: a head
// that is not whole, a pipelined request, an answer that the client does not take.
//
// It keeps listening to the client during the whole request, because a client that has left must not cost an upstream
// anything more. Bytes that are not due yet are kept up to the size of a head; beyond that, and while the body is not
// read because nobody takes it, only a broken connection is announced, and a half-closed one is looked for once a
// second.
//
// Behind a 101 the connection is a tunnel: what the client sends is a body without an end of its own, what it gets an
// answer until the connection closes, each side ends by itself, and one timer stands for all the others. A tunnel that
// is cut ends with a reset, because an end in good order would mean that the other side had said all.
//
// A connection that will not be used again is closed in the order that lets the client read what was said: our side
// first, then a bounded drain of theirs.
//
// Life: an open connection holds a reference to itself, which `close` drops; handlers hold one while they run.
//
// Threads: one worker.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "proxy/base/buffer.hpp"
#include "proxy/http/chunked.hpp"
#include "proxy/http/h1_head.hpp"
#include "proxy/http/request_id.hpp"
#include "proxy/http/target.hpp"
#include "proxy/net/downstream.hpp"
#include "proxy/net/edge.hpp"
#include "proxy/net/exchange_driver.hpp"
#include "proxy/net/intrusive.hpp"
#include "proxy/net/transport.hpp"

namespace outrigger::net {

/// What a listener's connections have in common; lives as long as the process.
struct ListenerInfo {
  std::size_t index = 0;  // into View::listeners
  std::string_view name;  // interned
  telemetry::ListenerRow* row = nullptr;
  std::atomic<std::int64_t>* connections = nullptr;  // open ones of all workers
  bool local = false;                                // only this host reaches it: a loopback address or a Unix socket
  bool alone = false;                                // one worker accepts for all
};

class H1Downstream final : public Counted<H1Downstream>, public Downstream, private TransportOwner, private LazyTimer {
 public:
  /// Takes over an accepted descriptor, on which with `tls` the handshake is done. `peer` is the client's address
  /// without port.
  H1Downstream(Edge& edge, int descriptor, const ListenerInfo& listener, std::string peer,
               std::unique_ptr<TlsSession> tls = nullptr);
  ~H1Downstream() override;

  /// The process is draining: closes once it has been quiet for a second.
  void drain();
  void close();

  std::size_t place = 0;  // in the edge's list

  // Downstream
  void read_body() override;
  void resume_body() override;
  void send_interim(const http::ResponseHead& head) override;
  void send_head(const http::ResponseHead& head, const AnswerMarks& marks, std::string_view data, bool end,
                 std::string_view trailers) override;
  void send_body(std::string_view data) override;
  void send_end(std::string_view trailers) override;
  void open_tunnel() override;
  void half_close() override;
  void send_reply(const exchange::Reply& reply) override;
  void send_cached(const policy::CacheHit& hit, std::string_view fallback) override;
  void cut() override;
  std::size_t backlog() const override { return out_.size(); }
  std::size_t relay_limit() const override { return relay_limit_; }
  std::size_t max_response_head() const override { return max_response_head_; }
  std::uint64_t bytes_sent() const override { return bytes_sent_; }
  void exchange_over() override;

 private:
  friend class Counted<H1Downstream>;
  enum class State : std::uint8_t { idle, head, busy, lingering, closed };
  static constexpr int kReceivesPerTurn = 4;
  static constexpr Nanos kLingerTime = std::chrono::seconds{1};
  static constexpr std::size_t kLingerBytes = 64 * 1024;
  static constexpr Nanos kHalfCloseCheck = std::chrono::seconds{1};
  static constexpr Nanos kDrainQuiet = std::chrono::seconds{1};

  void last_reference_gone() noexcept { delete this; }
  void on_readable() override;
  void on_writable() override;
  void on_broken() override;
  void on_due(TimePoint now) override;

  const config::ListenerConfig& listener() const noexcept { return *edge_.view->listeners[info_.index]; }
  const config::LimitsConfig& limits() const noexcept { return listener().limits; }
  Loop& loop() noexcept { return edge_.loop; }

  // Reading.
  bool receive_once();
  std::size_t receive_limit();
  void take(std::span<char> bytes);
  void take_head_bytes(std::span<char> bytes);
  std::size_t take_head(std::span<char> bytes);
  std::size_t begin_request(std::span<char> rest);
  void adopt(const http::RequestHead& head);
  void take_body_bytes(std::span<char> bytes);
  std::string_view trailers() const noexcept;
  std::string_view decode(std::span<char> bytes, std::size_t& consumed);
  void next_request();
  bool has_next() const noexcept { return state_ == State::idle && !in_.empty() && !only_empty_lines_; }
  void stop_listening();
  void expect_body();
  void end_of_client();
  void leave(Reason why);

  // Writing.
  void refuse_head(Reason why, std::string_view received);
  void refuse(Reason why);
  void answer_last_forward();
  exchange::RequestFacts unrouted_facts(bool head_known);
  void account_unrouted(exchange::Timeline& timeline);
  Buffer& begin_whole();
  void end_whole();
  void write_fixed(const exchange::Reply& reply, Buffer& text);
  void write_whole(std::uint16_t status, http::FieldList& fields, std::string_view body, const AnswerMarks& marks,
                   Buffer& text, std::size_t most = SIZE_MAX);
  void send_stored();
  void write(std::span<const std::string_view> pieces);
  void write_body(std::string_view data, bool end, std::string_view trailers);
  void flush();
  void expect_reading();
  bool reads_on() const noexcept;
  void check_delivered();
  void linger();
  void linger_on();
  bool draining() const noexcept;
  bool closes() const noexcept;
  const http::HeaderEdits* response_edits() const noexcept;
  std::span<const Field> own_fields(std::string_view fallback, HeaderView theirs);
  void add_debug_fields();
  std::string_view fields_to_log(const http::FieldList& fields, bool& cut);
  Priority priority_of(const http::FieldList& fields, std::optional<Priority> fixed) const noexcept;
  std::string_view client_ip(const http::FieldList& fields) const noexcept;
  std::string_view request_id() const noexcept { return {request_id_, request_id_size_}; }

  void rearm();

  Edge& edge_;
  Ref<Transport> transport_;
  const ListenerInfo& info_;
  std::string peer_;

  State state_ = State::idle;
  http::HeadScan scan_;
  Buffer in_;   // a head that is not whole, or bytes of the next request
  Buffer out_;  // what the client has not taken yet
  ExchangeDriver* driver_ = nullptr;
  policy::CachedRef stored_;                      // an answer that is not sent as a whole yet
  std::size_t stored_at_ = 0;                     // how much of its body is
  const exchange::Timeline* unrouted_ = nullptr;  // of a request without a driver, while its answer is written

  // The request under way.
  http::ChunkDecoder decoder_;
  http::Framing body_framing_ = http::Framing::none;
  http::Framing answer_framing_ = http::Framing::none;
  Reason body_error_ = Reason::success;
  std::uint64_t body_left_ = 0;
  std::uint64_t body_received_ = 0;
  std::uint64_t max_body_ = 0;
  std::uint64_t bytes_sent_ = 0;
  std::size_t relay_limit_ = 0;
  std::size_t max_response_head_ = 0;
  std::uint8_t minor_ = 1;
  bool answers_head_ = false;
  bool keep_alive_ = false;
  bool only_empty_lines_ = false;  // what has come since the last request, as many as there may be before the next
  bool expects_continue_ = false;
  bool body_wanted_ = false;      // the exchange has admitted the request
  bool body_complete_ = true;     // all of it has been received
  bool answer_complete_ = false;  // all of it has been accepted for writing
  bool shows_timeline_ = false;   // the client asked for it
  bool tunnel_ = false;           // behind a 101: bytes without a meaning, both ways
  bool half_closed_ = false;      // the last of them for the client has come
  bool gone_ = false;             // nothing can be said to the client any more
  std::uint32_t requests_ = 0;
  std::size_t lingered_ = 0;  // bytes read and dropped
  std::size_t untaken_ = 0;   // bytes that the client's kernel had not acknowledged when `write_due_` was set
  std::string_view policy_;   // of the request under way, interned; empty before a route is known
  std::size_t request_id_size_ = 0;
  char request_id_[http::kMaxRequestId];
  char attempts_text_[4];

  // When what is being waited for has waited too long; kNever: it is not being waited for.
  TimePoint head_due_ = kNever;
  TimePoint body_due_ = kNever;
  TimePoint write_due_ = kNever;
  TimePoint quiet_due_ = kNever;  // idle, lingering or draining
  TimePoint half_close_due_ = kNever;
};

}  // namespace outrigger::net
