#include "proxy/net/h1_downstream.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "proxy/http/deadline_header.hpp"
#include "proxy/http/forward.hpp"
#include "proxy/http/local_reply.hpp"
#include "proxy/http/methods.hpp"
#include "proxy/http/rewrite.hpp"
#include "proxy/http/upgrade.hpp"
#include "proxy/net/policy_facts.hpp"

namespace outrigger::net {
namespace {

using telemetry::Direction;

std::string_view trace_id_of(const http::FieldList& fields) noexcept {
  const auto parent = fields.find(http::FieldId::traceparent);
  return parent && parent->size() >= 35 ? parent->substr(3, 32) : std::string_view{};
}

}  // namespace

H1Downstream::H1Downstream(Edge& edge, int descriptor, const ListenerInfo& listener, std::string peer,
                           std::unique_ptr<TlsSession> tls)
    : edge_(edge),
      transport_(new Transport(edge.loop.poller, descriptor, *this, std::move(tls))),
      info_(listener),
      peer_(std::move(peer)),
      decoder_(http::ChunkLimits{}) {
  add_reference();
  edge_.enlist(*this);
  edge_.load.fetch_add(1, std::memory_order_relaxed);
  edge_.process.downstream_connections.fetch_add(1, std::memory_order_relaxed);
  info_.connections->fetch_add(1, std::memory_order_relaxed);
  info_.row->connections.add(1);
  info_.row->connections_total.add();
  quiet_due_ = saturating_add(loop().now(), limits().idle_timeout);
  rearm();
  transport_->watch_read();
}

H1Downstream::~H1Downstream() = default;

// ---- reading ----------------------------------------------------------------------------------

void H1Downstream::on_readable() {
  const Ref<H1Downstream> guard(this);
  loop().refresh();
  if (gone_) return leave(Reason::client_disconnected);
  if (has_next()) {
    next_request();
    // What is here comes first: who is answered at once could otherwise send more than he is answered.
    if (has_next()) return transport_->wake();
  }
  if (tunnel_ && !in_.empty()) {
    // They came before the answer that gives them a meaning.
    take_body_bytes({in_.data(), in_.size()});
    in_.release();
  }
  for (int i = 0; i < kReceivesPerTurn; ++i) {
    if (state_ == State::closed || gone_ || !receive_once()) return;
  }
  if (state_ != State::closed) transport_->watch_read();
}

/// How much may be received now, by what the connection is doing.
std::size_t H1Downstream::receive_limit() {
  if (state_ == State::lingering) return lingered_ < kLingerBytes ? Loop::kScratchBytes : 0;
  if (state_ != State::busy) return Loop::kScratchBytes;
  if (!body_complete_)
    return body_wanted_ && driver_ != nullptr ? std::min(driver_->body_allowance(), Loop::kScratchBytes) : 0;
  const std::size_t most = limits().max_request_head_bytes;
  return in_.size() < most ? std::min(most - in_.size(), Loop::kScratchBytes) : 0;
}

/// True where receiving once more at once makes sense.
bool H1Downstream::receive_once() {
  const std::size_t limit = receive_limit();
  if (limit == 0) {
    stop_listening();
    return false;
  }
  const std::span<char> room = loop().scratch(limit);
  const IoResult result = transport_->recv(room);
  if (result.status == IoStatus::again) {
    transport_->watch_read();
    return false;
  }
  if (result.status == IoStatus::eof && tunnel_) {
    end_of_client();
    return false;
  }
  if (result.status != IoStatus::ok) {
    leave(Reason::client_disconnected);
    return false;
  }
  loop().row.moved(Direction::downstream_in, result.bytes);
  take(room.first(result.bytes));
  if (state_ == State::closed) return false;
  if (has_next()) {
    transport_->wake();
    return false;
  }
  if (result.bytes < room.size()) {
    transport_->watch_read();
    return false;
  }
  return true;
}

/// The client must go on sending its body, or either side of a tunnel something, before that.
void H1Downstream::expect_body() {
  body_due_ = saturating_add(loop().now(), tunnel_ ? driver_->tunnel_idle_timeout() : limits().body_idle_timeout);
  rearm();
}

/// The client has ended its side of a tunnel; the other goes on.
void H1Downstream::end_of_client() {
  body_complete_ = true;
  expect_body();
  driver_->on_body_end({});
  if (state_ == State::busy) transport_->watch_broken();
}

/// Nothing may be received for now: only a broken connection is announced, so a half-closed one is looked for.
void H1Downstream::stop_listening() {
  transport_->watch_broken();
  // A tunnel may be half-closed, and is idle when nobody takes anything; who is only given time to read may be, too.
  if (tunnel_ || state_ == State::lingering) return;
  body_due_ = kNever;  // the silence is ours
  half_close_due_ = saturating_add(loop().now(), kHalfCloseCheck);
  rearm();
}

void H1Downstream::take(std::span<char> bytes) {
  switch (state_) {
    case State::idle:
    case State::head: return take_head_bytes(bytes);
    case State::busy:
      if (!body_complete_) return take_body_bytes(bytes);
      return in_.append({bytes.data(), bytes.size()});
    case State::lingering: lingered_ += bytes.size(); return;
    case State::closed: return;
  }
}

void H1Downstream::take_head_bytes(std::span<char> bytes) {
  if (in_.empty()) {
    const std::size_t used = take_head(bytes);
    if (state_ == State::closed || state_ == State::lingering) return;
    return in_.append({bytes.data() + used, bytes.size() - used});
  }
  in_.append({bytes.data(), bytes.size()});
  next_request();
}

/// Looks for a request in what was kept.
void H1Downstream::next_request() {
  const std::size_t used = take_head({in_.data(), in_.size()});
  if (state_ == State::closed || state_ == State::lingering) return in_.release();
  in_.consume(used);
  if (in_.empty()) in_.release();
}

/// Parses a head and begins its request; returns how many bytes were dealt with.
std::size_t H1Downstream::take_head(std::span<char> bytes) {
  const config::LimitsConfig& limit = limits();
  const http::HeadLimits head_limits{.max_head = limit.max_request_head_bytes, .max_fields = limit.max_headers};
  const std::string_view text{bytes.data(), bytes.size()};
  const auto verdict = loop().parser.parse_request(text, head_limits, scan_);
  only_empty_lines_ = false;
  if (verdict.refused()) {
    refuse_head(verdict.reason, text);
    return bytes.size();
  }
  if (!verdict.complete()) {
    if (state_ == State::idle) only_empty_lines_ = text.find_first_not_of("\r\n") == std::string_view::npos;
    if (state_ == State::idle && !only_empty_lines_) {
      state_ = State::head;
      quiet_due_ = kNever;
      head_due_ = saturating_add(loop().now(), limit.head_timeout);
      rearm();
    }
    return 0;
  }
  scan_ = {};
  return verdict.size + begin_request(bytes.subspan(verdict.size));
}

/// Takes over what the connection itself must remember of a head.
void H1Downstream::adopt(const http::RequestHead& head) {
  const config::LimitsConfig& limit = limits();
  state_ = State::busy;
  head_due_ = quiet_due_ = kNever;
  ++requests_;
  minor_ = head.minor;
  answers_head_ = head.method == http::Method::head;
  const bool last = limit.max_requests_per_connection != 0 && requests_ >= limit.max_requests_per_connection;
  keep_alive_ = head.keep_alive && !last;
  expects_continue_ = head.expects_continue;
  body_framing_ = head.body.framing;
  body_left_ = head.body.bytes;
  body_complete_ =
      body_framing_ == http::Framing::none || (body_framing_ == http::Framing::content_length && body_left_ == 0);
  body_received_ = bytes_sent_ = 0;
  body_error_ = Reason::success;
  body_wanted_ = answer_complete_ = false;
  max_body_ = limit.max_request_body_bytes;
  relay_limit_ = limit.relay_buffer_bytes;
  max_response_head_ = limit.max_response_head_bytes;
  policy_ = {};
  shows_timeline_ = head.fields->find(http::FieldId::x_outrigger_timeline) == "1";
  if (body_framing_ == http::Framing::chunked) decoder_.reset();

  const auto received = head.fields->find(http::FieldId::x_request_id);
  if (received && http::is_acceptable_request_id(*received)) {
    request_id_size_ = received->copy(request_id_, sizeof request_id_);
  } else {
    const http::RequestId made(static_cast<std::uint64_t>(loop().wall_us() / 1000), loop().local.rng);
    request_id_size_ = made.view().copy(request_id_, sizeof request_id_);
  }
}

/// Routes a request and hands it to a driver; `rest` is what came behind its head. Returns how much of that is its
/// body.
std::size_t H1Downstream::begin_request(std::span<char> rest) {
  const http::RequestHead& head = loop().parser.request();
  const http::FieldList& fields = *head.fields;
  adopt(head);
  const bool has_body = !body_complete_;

  const config::Snapshot& snapshot = *edge_.view->snapshot;
  const auto target = http::normalise_target(head.target, head.method, limits().escaped_slashes, loop().target);
  if (!target) return refuse(Reason::bad_request), rest.size();
  if (max_body_ != 0 && body_left_ > max_body_) return refuse(Reason::body_too_large), rest.size();
  if (http::is_loop(fields, snapshot.instance)) return refuse(Reason::loop_detected), rest.size();
  if (http::is_last_forward(head)) return answer_last_forward(), body_complete_ ? 0 : rest.size();

  std::size_t used = 0;
  const std::string_view body = decode(rest, used);
  if (body_error_ != Reason::success) return refuse(body_error_), rest.size();

  const http::RouteQuery asked{.listener = info_.name,
                               .host = target->authority.empty() ? head.host : target->authority,
                               .path = target->path,
                               .query = target->query,
                               .method = head.method_name,
                               .fields = fields.view()};
  const auto route = snapshot.routes.find(asked);
  if (!route) return refuse(Reason::no_route), used;
  const config::RoutePlan& plan = snapshot.plans[*route];
  policy_ = plan.plan.policy_key;

  const auto deadline = http::incoming_deadline(fields, plan.accept);
  const Priority priority = priority_of(fields, plan.priority);
  const TlsSession* const tls = transport_->tls();
  const std::string_view upgrade = http::upgrade_of(head, plan.upgrade);
  const bool trusted = info_.local || listener().trusted_hops > 0;
  const std::string_view own_scheme = tls != nullptr ? "https" : "http";
  // The upstream may answer `http` with the way to `https`.
  const auto scheme = http::told_scheme(fields, trusted, own_scheme);
  const http::RequestForward forward{.instance = snapshot.instance,
                                     .path = http::rewritten(plan.rewrite, target->path, loop().rewritten),
                                     .query = target->query,
                                     .authority = target->authority,
                                     .host = plan.host,
                                     .client_ip = peer_,
                                     .client_certificate = tls != nullptr ? tls->peer() : std::string_view{},
                                     .scheme = own_scheme,
                                     .request_id = request_id(),
                                     .priority = to_string(priority),
                                     .upgrade = upgrade,
                                     .idempotency_key = plan.idempotency_key,
                                     .trusted = trusted,
                                     .edits = plan.request_edits};
  const std::uint64_t replay = plan.plan.policy->retry ? plan.plan.policy->retry->replay_buffer_bytes
                                                       : policy::RetryConfig{}.replay_buffer_bytes;
  const bool has_key = !plan.idempotency_key.empty() && !http::is_idempotent(head.method) &&
                       !find_field(fields.view(), plan.idempotency_key).value_or("").empty();
  std::string_view shown_path = target->path;
  if (snapshot.config.telemetry.timelines.log_query && !target->query.empty()) {
    loop().shown_path.clear();
    loop().shown_path.append(target->path);
    loop().shown_path.append(target->query);
    shown_path = loop().shown_path.view();
  }
  bool logged_fields_cut = false;
  const std::string_view logged_fields = fields_to_log(fields, logged_fields_cut);
  driver_ = &edge_.take_driver();
  driver_->begin(*this, edge_.view,
                 {.head = &head,
                  .forward = &forward,
                  .route = *route,
                  .facts = {.idempotent = has_key || http::is_idempotent(head.method),
                            .has_body = has_body,
                            .upgrade = !upgrade.empty(),
                            .body_fits_replay = head.body.bytes <= replay,
                            .client_deadline = deadline.left == kForever ? std::nullopt : std::optional{deadline.left},
                            .deadline_unreadable = deadline.invalid,
                            .request_id = request_id(),
                            .trace_id = trace_id_of(fields),
                            .method = head.method_name,
                            .path = shown_path,
                            .listener = info_.name,
                            .priority = priority,
                            .client_ip = client_ip(fields),
                            .fields = fields.view(),
                            .cache = cache_facts(plan, asked, scheme, has_body || !upgrade.empty(), loop().cache_key),
                            .chaos = meets_chaos(plan, asked),
                            .logged_fields = logged_fields,
                            .logged_fields_cut = logged_fields_cut,
                            .wall_start_us = loop().wall_us()},
                  .replay_limit = replay,
                  .body = body,
                  .body_complete = body_complete_,
                  .trailers = trailers()});
  return used;
}

/// The route's priority, else what a trusted client asks for, else standard.
Priority H1Downstream::priority_of(const http::FieldList& fields, std::optional<Priority> fixed) const noexcept {
  if (fixed) return *fixed;
  const auto asked = fields.find(http::FieldId::x_request_priority);
  if (!asked || !listener().trust_priority) return Priority::standard;
  return parse_priority(*asked).value_or(Priority::standard);
}

/// Whom limits by address count: the peer, or whom trusted proxies in front of us say they had.
std::string_view H1Downstream::client_ip(const http::FieldList& fields) const noexcept {
  const std::uint32_t hops = listener().trusted_hops;
  return hops == 0 ? std::string_view{peer_} : http::forwarded_for(fields, hops).value_or(peer_);
}

/// The fields that the access log names, as the inside of a JSON object; whole ones only, as many as there is room for.
/// `cut` becomes true where that is not all of them.
std::string_view H1Downstream::fields_to_log(const http::FieldList& fields, bool& cut) {
  Buffer& text = loop().text;
  text.clear();
  for (const std::string& name : edge_.view->snapshot->config.telemetry.access_log.headers) {
    const auto value = find_field(fields.view(), name);
    if (!value) continue;
    const std::size_t before = text.size();
    text.append(before == 0 ? "\"" : ",\"");
    http::append_json_escaped(name, text);
    text.append("\":\"");
    http::append_json_escaped(*value, text);
    text.append("\"");
    if (text.size() <= exchange::Timeline::kMaxLoggedFields) continue;
    text.truncate(before);
    cut = true;
  }
  return text.view();
}

/// Takes the body's bytes out of `bytes`; what is wrong with them is left in `body_error_`.
std::string_view H1Downstream::decode(std::span<char> bytes, std::size_t& consumed) {
  std::string_view data;
  consumed = 0;
  if (body_complete_) return data;
  if (tunnel_) {
    consumed = bytes.size();
    data = {bytes.data(), bytes.size()};
  } else if (body_framing_ == http::Framing::content_length) {
    consumed = static_cast<std::size_t>(std::min<std::uint64_t>(body_left_, bytes.size()));
    data = {bytes.data(), consumed};
    body_left_ -= consumed;
    body_complete_ = body_left_ == 0;
  } else {
    const auto step = decoder_.decode(bytes);
    if (step.state == http::ChunkDecoder::State::error) body_error_ = Reason::bad_request;
    consumed = step.consumed;
    data = step.data;
    body_complete_ = step.state == http::ChunkDecoder::State::done;
  }
  body_received_ += data.size();
  if (max_body_ != 0 && body_received_ > max_body_) body_error_ = Reason::body_too_large;
  return data;
}

/// Of the request's body, once that is complete.
std::string_view H1Downstream::trailers() const noexcept {
  const bool any = body_complete_ && body_framing_ == http::Framing::chunked;
  return any ? decoder_.trailers() : std::string_view{};
}

void H1Downstream::take_body_bytes(std::span<char> bytes) {
  std::size_t used = 0;
  const std::string_view data = decode(bytes, used);
  if (body_error_ != Reason::success) {
    body_complete_ = false;
    return driver_->on_downstream_failed(body_error_);
  }
  if (!data.empty()) driver_->on_body(data);
  if (driver_ == nullptr) return;
  if (!body_complete_) return expect_body();
  body_due_ = kNever;
  in_.append({bytes.data() + used, bytes.size() - used});
  driver_->on_body_end(trailers());
}

void H1Downstream::read_body() {
  body_wanted_ = true;
  if (!body_complete_) expect_body();
  if (expects_continue_ && !body_complete_ && body_received_ == 0) write(std::array{http::kContinue});
}

void H1Downstream::resume_body() {
  if (state_ != State::busy || body_complete_ || !body_wanted_ || driver_ == nullptr) return;
  if (driver_->body_allowance() == 0) return;
  half_close_due_ = kNever;
  expect_body();
  transport_->watch_read();
}

void H1Downstream::on_broken() {
  const Ref<H1Downstream> guard(this);
  loop().refresh();
  leave(Reason::client_disconnected);
}

/// The client is gone, or as good as: its request ends, and so does the connection.
void H1Downstream::leave(Reason why) {
  gone_ = true;
  if (driver_ != nullptr) driver_->on_downstream_failed(why);
  close();
}

// ---- from one request to the next, and the end ------------------------------------------------

void H1Downstream::exchange_over() {
  driver_ = nullptr;
  stored_ = nullptr;
  tunnel_ = false;
  body_due_ = write_due_ = half_close_due_ = kNever;
  if (body_framing_ == http::Framing::chunked) decoder_.release();
  if (state_ == State::closed) return;
  if (gone_) return close();
  if (!keep_alive_) return linger();
  state_ = State::idle;
  answer_framing_ = http::Framing::none;
  // A client that was told before the drain that the connection stays may already have sent its next request.
  quiet_due_ =
      saturating_add(loop().now(), draining() ? std::min(kDrainQuiet, limits().idle_timeout) : limits().idle_timeout);
  rearm();
  // A pipelined request has its turn like every other connection's.
  if (!in_.empty()) return transport_->wake();
  transport_->watch_read();
}

/// Says all there is to say, closes our side, and gives the client the time to read it.
void H1Downstream::linger() {
  state_ = State::lingering;
  quiet_due_ = saturating_add(loop().now(), kLingerTime);
  rearm();
  if (out_.empty()) {
    transport_->shutdown_send();
  } else {
    transport_->watch_write();
  }
  transport_->watch_read();
}

/// The client has had its time. While it still takes what the kernel keeps for it, closing would destroy the rest if
/// the client has sent more than was read; so it may go on for as long as any client may be slow.
void H1Downstream::linger_on() {
  if (out_.empty() && transport_->unsent() == 0) return close();
  if (write_due_ == kNever || reads_on()) expect_reading();
  quiet_due_ = saturating_add(loop().now(), kLingerTime);
  rearm();
}

void H1Downstream::drain() {
  if (state_ != State::idle) return;
  quiet_due_ = std::min(quiet_due_, saturating_add(loop().now(), kDrainQuiet));
  rearm();
}

void H1Downstream::close() {
  if (state_ == State::closed) return;
  state_ = State::closed;
  clear();
  transport_->close();
  edge_.dismiss(*this);
  edge_.load.fetch_sub(1, std::memory_order_relaxed);
  edge_.process.downstream_connections.fetch_sub(1, std::memory_order_relaxed);
  info_.connections->fetch_sub(1, std::memory_order_relaxed);
  info_.row->connections.add(-1);
  if (driver_ != nullptr) std::exchange(driver_, nullptr)->on_downstream_failed(Reason::client_disconnected);
  drop_reference();
}

// ---- time -------------------------------------------------------------------------------------

void H1Downstream::rearm() {
  set(loop().wheel, std::min({head_due_, body_due_, write_due_, quiet_due_, half_close_due_}));
}

void H1Downstream::on_due(TimePoint now) {
  const Ref<H1Downstream> guard(this);
  if (state_ == State::closed) return;
  if (now >= write_due_) {
    if (!reads_on()) {
      transport_->reset();
      return leave(Reason::client_not_reading);
    }
    expect_reading();
  }
  if (now >= quiet_due_) return state_ == State::lingering ? linger_on() : close();
  if (now >= head_due_) return refuse_head(Reason::head_timeout, in_.view());
  if (now >= body_due_) {
    body_due_ = kNever;
    if (tunnel_) {
      driver_->cancel(Reason::tunnel_idle);
    } else if (driver_ != nullptr) {
      driver_->on_downstream_failed(Reason::body_timeout);
    }
    if (state_ == State::closed) return;
  }
  if (now >= half_close_due_) {
    half_close_due_ = kNever;
    if (transport_->peer_has_closed()) return leave(Reason::client_disconnected);
    if (state_ == State::busy) half_close_due_ = saturating_add(now, kHalfCloseCheck);
  }
  rearm();
}

}  // namespace outrigger::net
