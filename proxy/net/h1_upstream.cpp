#include "proxy/net/h1_upstream.hpp"

#include <algorithm>
#include <utility>

#include "proxy/http/upgrade.hpp"
#include "proxy/net/faults.hpp"

namespace outrigger::net {
namespace {

using telemetry::Direction;

}  // namespace

H1Upstream::H1Upstream(ConnectionPool& pool, int descriptor, UpstreamSink& sink)
    : pool_(&pool), transport_(new Transport(pool.loop().poller, descriptor, *this, pool.new_session())), sink_(&sink) {
  add_reference();
  pool_->count_active(1);
  transport_->watch_write();
}

H1Upstream::~H1Upstream() = default;

// ---- the request ----------------------------------------------------------------------------

void H1Upstream::on_writable() {
  const Ref<H1Upstream> guard(this);
  loop().refresh();
  if (state_ == State::connecting) return connected();
  if (state_ == State::busy) flush();
}

void H1Upstream::connected() {
  if (!std::exchange(reached_, true)) {
    if (const int error = transport_->connect_error(); error != 0) return fail(connect_fault(error));
  }
  switch (transport_->handshake()) {
    case IoStatus::ok: break;
    case IoStatus::again: return;
    default: return fail(Reason::tls_failure);
  }
  pool_->count_connect(Reason::success);
  state_ = State::busy;
  sink_->on_connected();
}

void H1Upstream::reused_for(UpstreamSink& sink) {
  state_ = State::busy;
  pool_->count_active(1);
  sink_ = &sink;
  reused_ = true;
}

void H1Upstream::start(std::string_view head, std::string_view data, bool chunked, bool answers_head, bool end) {
  chunked_request_ = chunked;
  answers_head_ = answers_head;
  request_ended_ = request_sent_ = any_sent_ = any_received_ = head_done_ = stray_ = false;
  interims_ = 0;
  scan_ = {};
  ++requests_;
  transport_->watch_read();
  request_ended_ = end;
  if (!chunked) {
    write(std::array{head, data});
  } else {
    const http::ChunkHeader header(data.size());
    const std::string_view last = end ? "0\r\n\r\n" : "";
    if (data.empty()) {
      write(std::array{head, last});
    } else {
      loop().out.clear();
      loop().out.append(http::kChunkEnd);
      loop().out.append(last);
      write(std::array{head, header.view(), data, loop().out.view()});
      loop().out.clear();
    }
  }
  request_progress();
}

void H1Upstream::send_body(std::string_view data) {
  if (data.empty()) return;
  if (chunked_request_) {
    const http::ChunkHeader header(data.size());
    write(std::array{header.view(), data, http::kChunkEnd});
  } else {
    write(std::array{data});
  }
}

void H1Upstream::send_end(std::string_view trailers) {
  request_ended_ = true;
  if (chunked_request_) write(std::array{http::kLastChunk, trailers, http::kChunkEnd});
  request_progress();
}

void H1Upstream::write(std::span<const std::string_view> pieces) {
  if (write_dead_) return;
  std::size_t sent = 0;
  if (out_.empty()) {
    const IoResult result = transport_->send(pieces);
    if (result.status == IoStatus::fault) return stop_writing();
    sent = result.bytes;
    any_sent_ |= sent > 0;
    loop().row.moved(Direction::upstream_out, sent);
  }
  for (const std::string_view piece : pieces) {
    const std::size_t skipped = std::min(sent, piece.size());
    sent -= skipped;
    out_.append(piece.substr(skipped));
  }
  if (!out_.empty()) transport_->watch_write();
}

/// The answer, or the error, is on the reading side; where that has ended the tunnel is over.
void H1Upstream::stop_writing() {
  write_dead_ = true;
  out_.release();
  if (read_ended_) transport_->wake();
}

void H1Upstream::flush() {
  if (out_.empty()) return;
  const IoResult result = transport_->send(out_.view());
  if (result.status == IoStatus::fault) return stop_writing();
  any_sent_ |= result.bytes > 0;
  loop().row.moved(Direction::upstream_out, result.bytes);
  out_.consume(result.bytes);
  if (!out_.empty()) return transport_->watch_write();
  out_.release();
  request_progress();
  if (sink_ != nullptr) sink_->on_drained();
}

void H1Upstream::request_progress() {
  if (!request_ended_ || request_sent_ || write_dead_ || !out_.empty()) return;
  request_sent_ = true;
  if (tunnel_) {
    transport_->shutdown_send();
    if (read_ended_) end_tunnel();
    return;
  }
  if (sink_ != nullptr) sink_->on_request_sent();
}

// ---- the response ---------------------------------------------------------------------------

void H1Upstream::on_readable() {
  const Ref<H1Upstream> guard(this);
  loop().refresh();
  if (state_ == State::connecting) return connected();
  if (state_ == State::idle) {
    // Nothing was asked: the end, or bytes that answer nothing. A receive that was filled exactly may have left
    // neither.
    if (transport_->recv(loop().scratch(1)).status == IoStatus::again) return transport_->watch_read();
    pool_->remove_idle(*this);
    return close();
  }
  if (read_ended_) return write_dead_ ? fail(Reason::reset) : void();
  for (int i = 0; i < kReceivesPerTurn; ++i) {
    if (state_ != State::busy || !receive_once()) return;
  }
  if (state_ != State::closed) transport_->watch_read();
}

/// True where receiving once more at once makes sense.
bool H1Upstream::receive_once() {
  std::size_t limit = Loop::kScratchBytes;
  if (head_done_) limit = std::min(limit, sink_->response_allowance());
  if (limit == 0) {
    clear();  // the silence is ours
    transport_->watch_broken();
    return false;
  }
  const std::span<char> room = loop().scratch(limit);
  const IoResult result = transport_->recv(room);
  switch (result.status) {
    case IoStatus::again: transport_->watch_read(); return false;
    case IoStatus::eof: at_eof(); return false;
    case IoStatus::fault: fail(stream_fault(result.error)); return false;
    case IoStatus::ok: break;
  }
  loop().row.moved(Direction::upstream_in, result.bytes);
  take_bytes(room.first(result.bytes));
  if (state_ == State::closed) return false;
  watch_silence();
  if (state_ == State::idle || result.bytes < room.size()) {
    transport_->watch_read();
    return false;
  }
  return true;
}

void H1Upstream::take_bytes(std::span<char> bytes) {
  any_received_ = true;
  if (head_done_) return deliver_body(bytes);
  if (in_.empty()) {
    const std::size_t used = take_head(bytes);
    if (state_ == State::busy && !head_done_) in_.append({bytes.data() + used, bytes.size() - used});
    return;
  }
  in_.append({bytes.data(), bytes.size()});
  const std::size_t used = take_head({in_.data(), in_.size()});
  if (state_ == State::busy && !head_done_) {
    in_.consume(used);
  } else {
    in_.release();
  }
}

/// Takes every interim head and the final one if it is there; returns how many bytes were dealt with.
std::size_t H1Upstream::take_head(std::span<char> bytes) {
  std::size_t used = 0;
  while (used < bytes.size()) {
    const std::span<char> rest = bytes.subspan(used);
    const http::HeadLimits limits{.max_head = sink_->max_response_head(), .max_fields = http::kMaxFields};
    const auto verdict = loop().parser.parse_response({rest.data(), rest.size()}, limits, answers_head_, scan_);
    if (verdict.refused()) {
      fail(verdict.reason);
      return used;
    }
    if (!verdict.complete()) return used;
    scan_ = {};
    used += verdict.size;
    const http::ResponseHead& head = loop().parser.response();
    if (head.status >= 200) {
      head_done_ = true;
      framing_ = head.body.framing;
      body_left_ = head.body.bytes;
      keep_alive_ = head.keep_alive;
      decoder_.reset({.max_extensions = SIZE_MAX, .max_trailers = sink_->max_response_head()});
      const Piece piece = decode(rest.subspan(verdict.size));
      if (piece.broken) {
        fail(Reason::protocol_error);
        return bytes.size();
      }
      UpstreamSink* sink = sink_;
      if (piece.end) complete();
      sink->on_response(head, {rest.data(), verdict.size}, piece.data, piece.end, trailers());
      if (piece.end) decoder_.release();
      return bytes.size();
    }
    if (head.status == 101) return take_switch(rest, verdict.size) ? bytes.size() : used;
    if (++interims_ > kMaxInterim) {
      fail(Reason::protocol_error);
      return used;
    }
    sink_->on_interim(head);
    if (state_ != State::busy) return used;
  }
  return used;
}

/// A 101 has come; false where that is not what was asked for. From here on no byte has a meaning for us.
bool H1Upstream::take_switch(std::span<char> bytes, std::size_t head_size) {
  const http::ResponseHead& head = loop().parser.response();
  const std::string_view asked = sink_->asked_upgrade();
  if (asked.empty() || !http::switches_to(head, asked)) {
    fail(asked.empty() ? Reason::protocol_error : Reason::upgrade_refused);
    return false;
  }
  head_done_ = tunnel_ = true;
  framing_ = http::Framing::until_close;
  keep_alive_ = request_ended_ = request_sent_ = chunked_request_ = false;
  transport_->accept_unsaid_end();
  const std::string_view all{bytes.data(), bytes.size()};
  sink_->on_response(head, all.substr(0, head_size), all.substr(head_size), false, {});
  return true;
}

H1Upstream::Piece H1Upstream::decode(std::span<char> bytes) {
  switch (framing_) {
    case http::Framing::none: stray_ |= !bytes.empty(); return {{}, true, false};
    case http::Framing::content_length: {
      const std::size_t size = static_cast<std::size_t>(std::min<std::uint64_t>(body_left_, bytes.size()));
      body_left_ -= size;
      stray_ |= size < bytes.size();
      return {{bytes.data(), size}, body_left_ == 0, false};
    }
    case http::Framing::chunked: {
      const auto step = decoder_.decode(bytes);
      const bool done = step.state == http::ChunkDecoder::State::done;
      stray_ |= done && step.consumed < bytes.size();
      return {step.data, done, step.state == http::ChunkDecoder::State::error};
    }
    case http::Framing::until_close: return {{bytes.data(), bytes.size()}, false, false};
  }
  return {{}, false, true};
}

void H1Upstream::deliver_body(std::span<char> bytes) {
  const Piece piece = decode(bytes);
  UpstreamSink* sink = sink_;
  if (!piece.data.empty()) {
    sink->on_data(piece.data);
    if (sink_ != sink) return;  // aborted meanwhile
  }
  if (piece.broken) return fail(Reason::protocol_error);
  if (!piece.end) return;
  complete();
  sink->on_end(trailers());
  decoder_.release();
}

std::string_view H1Upstream::trailers() const noexcept {
  return framing_ == http::Framing::chunked ? decoder_.trailers() : std::string_view{};
}

void H1Upstream::at_eof() {
  if (tunnel_) {
    read_ended_ = true;
    if (write_dead_) return fail(Reason::reset);  // it has gone, and not only fallen silent
    if (request_sent_) return end_tunnel();
    transport_->watch_broken();
    return sink_->on_half_closed();
  }
  if (head_done_ && framing_ == http::Framing::until_close) {
    UpstreamSink* sink = sink_;
    complete();
    return sink->on_end({});
  }
  fail(Reason::closed_early);
}

/// Both sides have ended in good order.
void H1Upstream::end_tunnel() {
  UpstreamSink* sink = sink_;
  complete();
  sink->on_end({});
}

/// The response is whole: the connection goes back to the pool, or away.
void H1Upstream::complete() {
  clear();
  sink_ = nullptr;
  const std::uint32_t most = pool_->settings().max_requests_per_connection;
  const bool reusable = keep_alive_ && request_sent_ && !stray_ && framing_ != http::Framing::until_close &&
                        (most == 0 || requests_ < most);
  if (!reusable) return close();
  state_ = State::idle;
  pool_->count_active(-1);
  pool_->put(*this);
}

// ---- its end --------------------------------------------------------------------------------

void H1Upstream::resume() {
  if (state_ != State::busy || read_ended_) return;
  watch_silence();
  transport_->watch_read();
}

/// The body may be silent only for so long, while it is we who listen; how long a tunnel may be is the client's side's
/// to know.
void H1Upstream::watch_silence() {
  if (state_ != State::busy || !head_done_ || tunnel_) return;
  if (sink_->response_allowance() == 0) return clear();
  set(loop().wheel, saturating_add(loop().now(), pool_->settings().read_idle_timeout));
}

void H1Upstream::on_broken() {
  const Ref<H1Upstream> guard(this);
  loop().refresh();
  if (state_ != State::busy) return;
  // What arrived before is still there for whoever relays it, and what broke is found behind it.
  if (read_ended_ || !sink_->is_relayed()) fail(Reason::reset);
}

void H1Upstream::on_due(TimePoint) {
  const Ref<H1Upstream> guard(this);
  if (state_ == State::busy) fail(Reason::response_idle_timeout);
}

exchange::Exposure H1Upstream::exposure() const noexcept {
  if (!any_sent_) return exchange::Exposure::nothing_sent;
  return request_sent_ ? exchange::Exposure::fully_sent : exchange::Exposure::partly_sent;
}

void H1Upstream::fail(Reason why) {
  if (why == Reason::tls_failure && transport_->tls() != nullptr) pool_->tell_failure(*transport_->tls());
  if (state_ == State::connecting) pool_->count_connect(why);
  UpstreamSink* sink = std::exchange(sink_, nullptr);
  close();
  if (sink != nullptr) sink->on_failed(why, exposure(), reused_ && !any_received_);
}

void H1Upstream::abort(Reason why) {
  if (state_ == State::connecting) pool_->count_connect(why);
  sink_ = nullptr;
  // An end in good order would pass for one that the client has meant.
  if (tunnel_) transport_->reset();
  close();
}

void H1Upstream::close() {
  if (state_ == State::closed) return;
  if (state_ != State::idle) pool_->count_active(-1);
  state_ = State::closed;
  clear();
  transport_->close();
  drop_reference();
}

}  // namespace outrigger::net
