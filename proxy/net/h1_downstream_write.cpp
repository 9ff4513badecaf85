// What a client is told: answers of upstreams, stored ones and our own, in the framing that it can read, and what it
// has not taken of them yet.
#include <algorithm>
#include <array>
#include <charconv>

#include "proxy/http/forward.hpp"
#include "proxy/http/local_reply.hpp"
#include "proxy/http/trace.hpp"
#include "proxy/net/h1_downstream.hpp"
#include "proxy/telemetry/timeline_json.hpp"

namespace outrigger::net {
namespace {

using telemetry::Direction;

// Below this, copying a body behind its head is cheaper than handing the kernel two pieces.
constexpr std::size_t kCopyBody = 8 * 1024;

}  // namespace

bool H1Downstream::draining() const noexcept { return edge_.process.draining.load(std::memory_order_relaxed); }

bool H1Downstream::closes() const noexcept {
  return !keep_alive_ || !body_complete_ || answer_framing_ == http::Framing::until_close || draining();
}

/// The route's, of every answer that belongs to a request of one.
const http::HeaderEdits* H1Downstream::response_edits() const noexcept {
  return driver_ != nullptr ? driver_->response_edits() : nullptr;
}

/// What we ourselves say of the answer, in fields; `theirs`: those it came with, some of which ours may replace (then
/// `edge_.rate_limits` knows).
std::span<const Field> H1Downstream::own_fields(std::string_view fallback, HeaderView theirs) {
  edge_.own_fields.clear();
  if (!fallback.empty()) edge_.own_fields.push_back({"X-Outrigger-Fallback", fallback});
  edge_.rate_limits.show(driver_ != nullptr ? driver_->rate_limits() : exchange::RateLimitsShown{}, theirs);
  for (const Field& field : edge_.rate_limits.fields()) edge_.own_fields.push_back(field);
  if (listener().debug_headers) add_debug_fields();
  return {edge_.own_fields.begin(), edge_.own_fields.size()};
}

void H1Downstream::add_debug_fields() {
  edge_.own_fields.push_back({"X-Outrigger-Request-Id", request_id()});
  unsigned attempts = 0;
  if (driver_ != nullptr && !driver_->timeline().attempts.empty()) {
    attempts = driver_->timeline().attempts.back().n;  // reconnects do not count
  }
  const auto end = std::to_chars(attempts_text_, attempts_text_ + sizeof attempts_text_, attempts);
  edge_.own_fields.push_back(
      {"X-Outrigger-Attempts", {attempts_text_, static_cast<std::size_t>(end.ptr - attempts_text_)}});
  if (!policy_.empty()) edge_.own_fields.push_back({"X-Outrigger-Policy", policy_});
  const exchange::Timeline* const timeline = driver_ != nullptr ? &driver_->timeline() : unrouted_;
  if (!shows_timeline_ || timeline == nullptr) return;
  loop().text.clear();
  loop().text.append(telemetry::timeline_json(*timeline));
  edge_.own_fields.push_back({"X-Outrigger-Timeline", loop().text.view()});
}

void H1Downstream::send_interim(const http::ResponseHead& head) {
  if (minor_ == 0) return;
  Buffer& text = loop().out;
  text.clear();
  // What the answer must not bear, its forerunners must not either; what is set and added is said once, by the answer.
  http::HeaderEdits edits;
  if (const http::HeaderEdits* of_answer = response_edits()) edits.remove = of_answer->remove;
  http::write_response_head(head, {.instance = edge_.view->snapshot->instance, .date = loop().date(), .edits = &edits},
                            text);
  write(std::array{text.view()});
}

void H1Downstream::send_head(const http::ResponseHead& head, const AnswerMarks& marks, std::string_view data, bool end,
                             std::string_view trailers) {
  answer_framing_ = http::client_framing(head, minor_);
  if (closes()) keep_alive_ = false;
  Buffer& text = loop().out;
  text.clear();
  http::write_response_head(head,
                            {.instance = edge_.view->snapshot->instance,
                             .date = loop().date(),
                             .client_minor = minor_,
                             .client_keep_alive = keep_alive_,
                             .should_not_retry = marks.should_not_retry,
                             .extra = own_fields(marks.fallback, head.fields->view()),
                             .replaced = edge_.rate_limits.replaced(),
                             .edits = response_edits()},
                            text);
  write_body(data, end, trailers);
}

void H1Downstream::send_body(std::string_view data) {
  loop().out.clear();
  write_body(data, false, {});
}

void H1Downstream::send_end(std::string_view trailers) {
  loop().out.clear();
  write_body({}, true, trailers);
}

void H1Downstream::open_tunnel() {
  tunnel_ = true;
  body_complete_ = keep_alive_ = false;
  body_wanted_ = true;
  max_body_ = 0;
  half_close_due_ = kNever;
  transport_->accept_unsaid_end();
  expect_body();
  // What the client has sent already has its turn like every other event.
  if (!in_.empty()) return transport_->wake();
  transport_->watch_read();
}

void H1Downstream::half_close() {
  half_closed_ = true;
  if (out_.empty()) transport_->shutdown_send();
}

/// Writes data in the framing of the answer, behind what the worker's `out` already holds.
void H1Downstream::write_body(std::string_view data, bool end, std::string_view trailers) {
  Buffer& text = loop().out;
  const bool chunked = answer_framing_ == http::Framing::chunked;
  if (chunked && !data.empty()) text.append(http::ChunkHeader(data.size()).view());
  const bool copy = data.size() <= kCopyBody;
  const std::size_t before = copy ? 0 : text.size();
  if (copy) text.append(data);
  if (chunked && !data.empty()) text.append(http::kChunkEnd);
  if (chunked && end) {
    text.append(http::kLastChunk);
    text.append(trailers);
    text.append(http::kChunkEnd);
  }
  answer_complete_ = end;
  if (copy) {
    write(std::array{text.view()});
  } else {
    write(std::array{text.view().substr(0, before), data, text.view().substr(before)});
  }
  text.clear();
  check_delivered();
}

/// Where an answer that is there as a whole is written.
Buffer& H1Downstream::begin_whole() {
  answer_framing_ = http::Framing::content_length;
  if (closes()) keep_alive_ = false;
  loop().out.clear();
  return loop().out;
}

void H1Downstream::end_whole() {
  answer_complete_ = true;
  write(std::array{loop().out.view()});
  loop().out.clear();
  check_delivered();
}

void H1Downstream::send_reply(const exchange::Reply& reply) {
  Buffer& text = begin_whole();
  std::optional<std::uint64_t> retry_after;
  if (reply.retry_after) {
    retry_after = static_cast<std::uint64_t>(std::chrono::ceil<std::chrono::seconds>(*reply.retry_after).count());
  }
  if (reply.fixed != nullptr) {
    write_fixed(reply, text);
  } else {
    http::write_local_reply({.reason = reply.why,
                             .instance = edge_.view->snapshot->instance,
                             .date = loop().date(),
                             .request_id = request_id(),
                             .policy = policy_,
                             .retry_after = retry_after,
                             .should_not_retry = reply.should_not_retry,
                             .answers_head = answers_head_,
                             .keep_alive = keep_alive_,
                             .client_minor = minor_,
                             .extra = own_fields({}, {})},
                            text);
  }
  end_whole();
}

void H1Downstream::send_cached(const policy::CacheHit& hit, std::string_view fallback) {
  Buffer& text = begin_whole();
  http::FieldList fields;
  for (const Field& field : hit.response->fields()) fields.push(field, http::identify_field(field.name));
  const std::string age = std::to_string(std::chrono::duration_cast<std::chrono::seconds>(hit.age).count());
  fields.push({"Age", age}, http::FieldId::other);
  const std::string_view body = hit.response->body();
  stored_at_ = std::min(body.size(), relay_limit_);
  write_whole(hit.response->status(), fields, body, {.fallback = fallback}, text, stored_at_);
  if (stored_at_ == body.size() || answers_head_) return end_whole();
  stored_ = hit.response;
  write(std::array{text.view()});
  text.clear();
  send_stored();
}

/// Goes on with a stored answer as far as the client takes it: what it has not taken is kept once, in the cache.
void H1Downstream::send_stored() {
  while (stored_ != nullptr && out_.empty() && !gone_) {
    const std::string_view piece = stored_->body().substr(stored_at_, relay_limit_);
    stored_at_ += piece.size();
    write(std::array{piece});
    answer_complete_ = stored_at_ == stored_->body().size();
    if (answer_complete_) stored_ = nullptr;
  }
  check_delivered();
}

void H1Downstream::write_fixed(const exchange::Reply& reply, Buffer& text) {
  const exchange::StaticResponse& response = *reply.fixed;
  http::FieldList fields;
  for (const auto& [name, value] : response.headers) fields.push({name, value}, http::identify_field(name));
  write_whole(response.status, fields, response.body, {reply.should_not_retry, reply.fallback}, text);
}

/// A response that is there as a whole: written through the same head writer as an upstream's, with the first bytes of
/// its body.
void H1Downstream::write_whole(std::uint16_t status, http::FieldList& fields, std::string_view body,
                               const AnswerMarks& marks, Buffer& text, std::size_t most) {
  const bool has_body = status != 204 && status != 304;
  const std::string length = std::to_string(body.size());
  if (has_body) fields.push({"Content-Length", length}, http::FieldId::content_length);
  const http::ResponseHead head{.status = status,
                                .reason_phrase = http::status_phrase(status),
                                .body = {has_body ? http::Framing::content_length : http::Framing::none, body.size()},
                                .fields = &fields};
  http::write_response_head(head,
                            {.instance = edge_.view->snapshot->instance,
                             .date = loop().date(),
                             .client_minor = minor_,
                             .client_keep_alive = keep_alive_,
                             .should_not_retry = marks.should_not_retry,
                             .extra = own_fields(marks.fallback, fields.view()),
                             .replaced = edge_.rate_limits.replaced(),
                             .edits = response_edits()},
                            text);
  if (has_body && !answers_head_) text.append(body.substr(0, most));
}

/// Answers a head that is wrong or not whole: nothing of it is known, and what is known of the request before it is not
/// its own. Only whether it is a HEAD matters even so, because whoever sent one reads no body.
void H1Downstream::refuse_head(Reason why, std::string_view received) {
  received.remove_prefix(std::min(received.find_first_not_of("\r\n"), received.size()));  // empty lines may come first
  minor_ = 1;
  answers_head_ = received.starts_with("HEAD ");
  keep_alive_ = body_complete_ = body_wanted_ = shows_timeline_ = false;
  request_id_size_ = 0;
  policy_ = {};
  refuse(why);
}

/// Answers a request that never got as far as a policy.
void H1Downstream::refuse(Reason why) {
  answer_framing_ = http::Framing::content_length;
  const bool readable_on = why == Reason::no_route && body_complete_;
  if (!readable_on || closes()) keep_alive_ = false;
  state_ = State::busy;
  head_due_ = quiet_due_ = kNever;
  bytes_sent_ = 0;
  const bool head_known = request_id_size_ != 0;
  if (!head_known) {
    const http::RequestId made(static_cast<std::uint64_t>(loop().wall_us() / 1000), loop().local.rng);
    request_id_size_ = made.view().copy(request_id_, sizeof request_id_);
  }
  const bool at_routing = why == Reason::no_route;
  exchange::Timeline timeline;
  exchange::record_refusal(timeline, loop().now(), unrouted_facts(head_known), why, at_routing ? 'P' : 'D',
                           at_routing ? '2' : '1', edge_.view->snapshot->generation);
  unrouted_ = &timeline;
  send_reply({.status = info(why).status, .why = why});
  unrouted_ = nullptr;
  info_.row->rejected[static_cast<std::size_t>(why)].add();
  account_unrouted(timeline);
}

exchange::RequestFacts H1Downstream::unrouted_facts(bool head_known) {
  const http::RequestHead& head = loop().parser.request();
  return {.request_id = request_id(),
          .method = head_known ? head.method_name : std::string_view{},
          .path = head_known ? head.target.substr(0, head.target.find('?')) : std::string_view{},
          .listener = info_.name,
          .wall_start_us = loop().wall_us()};
}

void H1Downstream::account_unrouted(exchange::Timeline& timeline) {
  timeline.bytes_out = bytes_sent_;
  telemetry::record_refusal(timeline, edge_.unrouted);
  edge_.record(timeline);
}

/// Answers a TRACE or OPTIONS that nobody further on is to see.
void H1Downstream::answer_last_forward() {
  const http::RequestHead& head = loop().parser.request();
  const bool trace = head.method == http::Method::trace;
  exchange::Timeline timeline;
  exchange::record_unrouted(timeline, loop().now(), unrouted_facts(true), 200, edge_.view->snapshot->generation);
  Buffer& echo = loop().shown_path;  // `text` may have to show the timeline beside it
  echo.clear();
  if (trace) http::append_trace(head, echo);
  http::FieldList fields;
  if (trace) {
    fields.push({"Content-Type", "message/http"}, http::FieldId::content_type);
  } else {
    fields.push({"Allow", http::kAllowed}, http::FieldId::other);
  }
  Buffer& text = begin_whole();
  unrouted_ = &timeline;
  write_whole(200, fields, echo.view(), {}, text);
  unrouted_ = nullptr;
  end_whole();
  account_unrouted(timeline);
}

void H1Downstream::write(std::span<const std::string_view> pieces) {
  if (gone_) return;
  std::size_t sent = 0;
  if (out_.empty()) {
    const IoResult result = transport_->send(pieces);
    if (result.status == IoStatus::fault) {
      // Told in a turn of its own: whoever writes is in the middle of something.
      gone_ = true;
      return transport_->wake();
    }
    sent = result.bytes;
    bytes_sent_ += sent;
    loop().row.moved(Direction::downstream_out, sent);
    if (tunnel_ && sent != 0) expect_body();
  }
  for (const std::string_view piece : pieces) {
    const std::size_t skipped = std::min(sent, piece.size());
    sent -= skipped;
    out_.append(piece.substr(skipped));
  }
  if (out_.empty()) return;
  if (write_due_ == kNever && !tunnel_) {
    expect_reading();
    rearm();
  }
  transport_->watch_write();
}

/// The client must take some of what it is sent before that. That the kernel takes more of it from us would not tell:
/// it does so only once it has got rid of some hundred KiB, for which a slow client may need minutes.
void H1Downstream::expect_reading() {
  untaken_ = transport_->unsent();
  write_due_ = saturating_add(loop().now(), limits().write_idle_timeout);
}

/// Whether it has taken some since: its kernel acknowledges nothing that it has no room for.
bool H1Downstream::reads_on() const noexcept { return transport_->unsent() < untaken_; }

void H1Downstream::on_writable() {
  const Ref<H1Downstream> guard(this);
  loop().refresh();
  if (state_ != State::closed) flush();
}

void H1Downstream::flush() {
  if (out_.empty()) return;
  const IoResult result = transport_->send(out_.view());
  if (result.status == IoStatus::fault) return leave(Reason::client_disconnected);
  bytes_sent_ += result.bytes;
  loop().row.moved(Direction::downstream_out, result.bytes);
  out_.consume(result.bytes);
  if (tunnel_ && result.bytes != 0) expect_body();
  if (!out_.empty()) {
    if (!tunnel_) expect_reading();
    return transport_->watch_write();
  }
  out_.release();
  write_due_ = kNever;
  if (half_closed_) transport_->shutdown_send();
  if (state_ == State::lingering) return linger();
  if (stored_ != nullptr) return send_stored();
  if (driver_ != nullptr) driver_->on_downstream_drained();
  check_delivered();
}

void H1Downstream::check_delivered() {
  if (!answer_complete_ || gone_ || !out_.empty()) return;
  if (driver_ != nullptr) return driver_->on_delivered();
  if (state_ == State::busy) exchange_over();  // of a request that had none
}

void H1Downstream::cut() {
  out_.release();
  stored_ = nullptr;
  keep_alive_ = false;
  // Closing in good order would end a close-delimited answer; only a reset says that it is not whole.
  if (answer_framing_ == http::Framing::until_close) {
    gone_ = true;
    transport_->reset();
  }
}

}  // namespace outrigger::net
