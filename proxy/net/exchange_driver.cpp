#include "proxy/net/exchange_driver.hpp"

#include <algorithm>
#include <utility>
#include <variant>

#include "proxy/http/retry_after.hpp"

namespace outrigger::net {

using exchange::Exposure;

ExchangeDriver::ExchangeDriver(Edge& edge, std::uint32_t slot)
    : edge_(edge), slot_(slot), body_(edge.loop.account), held_charge_(edge.loop.account, BufferKind::held) {
  for (std::size_t i = 0; i < attempts_.size(); ++i) {
    attempts_[i].driver = this;
    attempts_[i].id = static_cast<exchange::AttemptId>(i);
  }
}

ExchangeDriver::~ExchangeDriver() = default;

void ExchangeDriver::begin(Downstream& downstream, Ref<View> view, const Request& request) {
  generation_ = edge_.next_generation();
  downstream_ = &downstream;
  view_ = std::move(view);
  route_ = &view_->snapshot->plans[request.route];
  row_ = &view_->rows[request.route];
  has_body_ = request.facts.has_body;
  answers_head_ = request.head->method == http::Method::head;
  chunked_ = request.head->body.framing == http::Framing::chunked;
  upgrade_ = request.forward->upgrade;
  overflow_reported_ = replay_dropped_ = false;
  bytes_in_ = request.body.size();
  attempts_used_ = 0;
  trailers_.clear();
  head_.clear();
  http::write_request_head(*request.head, *request.forward, head_);
  head_base_ = head_.size();
  fallback_head_.clear();
  if (route_->plan.fallback.upstream != nullptr && route_->fallback_host != route_->host) {
    http::RequestForward elsewhere = *request.forward;
    elsewhere.host = route_->fallback_host;
    http::write_request_head(*request.head, elsewhere, fallback_head_);
  }
  if (route_->mirror && upgrade_.empty()) {
    mirror_ = Mirror::of(edge_, view_, request.route, *request.head, *request.forward, request.facts,
                         downstream.max_response_head());
  }

  timeline_.reset();
  exchange::RequestFacts facts = request.facts;
  facts.ticket = ticket();
  facts.body_complete = request.body_complete;
  if (facts.cache && facts.cache->demand) {
    http::read_written_fields(head_.view(), edge_.loop.asked_fields);
    facts.cache->fields = edge_.loop.asked_fields;
  }
  exchange_.emplace(route_->plan, facts, edge_.loop.local, timeline_);
  telemetry::begin(*row_->policy);
  if (has_body_) {
    body_.begin(request.replay_limit, request.facts.body_fits_replay);
    body_.keep(request.body);
    if (request.body_complete) body_.set_complete();
    trailers_.append(request.trailers);
  }
  feed(exchange::RequestReady{});
  if (has_body_) report_overflow();
}

// ---- facts in, orders out ---------------------------------------------------------------------

void ExchangeDriver::feed(const exchange::Event& event) {
  if (!exchange_) return;
  facts_.push_back(event);
  if (!draining_facts_) drain_facts();
}

void ExchangeDriver::drain_facts() {
  draining_facts_ = true;
  while (next_fact_ < facts_.size()) {
    const exchange::Event event = facts_[next_fact_++];
    if (next_fact_ == facts_.size()) {
      facts_.clear();
      next_fact_ = 0;
    }
    exchange::Actions orders;
    exchange_->on(edge_.loop.now(), event, orders);
    for (const exchange::Action& order : orders) {
      std::visit([this](const auto& what) { perform(what); }, order);
    }
  }
  draining_facts_ = false;
  if (exchange_->finished()) return finish();
  set(edge_.loop.wheel, exchange_->wakeup());
}

void ExchangeDriver::on_woken(const Ticket& ticket, bool granted) {
  if (ticket == this->ticket()) feed(exchange::Woken{ticket, granted});
}

exchange::RateLimitsShown ExchangeDriver::rate_limits() const noexcept {
  exchange::RateLimitsShown limits;
  if (exchange_) exchange_->rate_limits(edge_.loop.now(), limits);
  return limits;
}

void ExchangeDriver::on_due(TimePoint) { feed(exchange::Tick{}); }

void ExchangeDriver::finish() {
  clear();
  for (std::size_t i = 0; i < attempts_used_; ++i) end_attempt(attempts_[i]);
  timeline_.bytes_in = bytes_in_;
  timeline_.bytes_out = downstream_->bytes_sent();
  telemetry::record(timeline_, *row_);
  edge_.record(timeline_);
  exchange_.reset();
  body_.end();
  mirror_.reset();
  view_.reset();
  Downstream* downstream = std::exchange(downstream_, nullptr);
  edge_.give_back(*this);
  downstream->exchange_over();
}

// ---- orders -----------------------------------------------------------------------------------

void ExchangeDriver::perform(const exchange::ReadBody&) { downstream_->read_body(); }

void ExchangeDriver::perform(const exchange::StartAttempt& order) {
  Attempt& a = attempt(order.id);
  attempts_used_ = std::max(attempts_used_, exchange::index(order.id) + 1);
  a.phase = Phase::connecting;
  a.stream = nullptr;
  a.body_at = 0;
  a.body_ended = a.whole = false;
  a.elsewhere = route_->plan.upstream == nullptr || order.upstream != route_->plan.upstream->id;
  a.forward = order.forward;
  a.n = order.n;
  a.hedge = order.hedge;

  // The exchange asks for no attempt whose first bytes are gone; half a request must not go out whatever happens.
  if (has_body_ && !body_.holds(0)) return failed(a, Reason::internal, Exposure::nothing_sent, false);

  ConnectionPool& pool = *view_->pools[policy::index(order.upstream)][policy::index(order.endpoint)];
  a.stream = pool.take(a, order.reuse);
  if (a.stream != nullptr) return connected(a, true);
  Reason why{};
  a.stream = pool.connect(a, why);
  if (a.stream == nullptr) failed(a, why, Exposure::nothing_sent, false);
}

void ExchangeDriver::perform(const exchange::HoldResponse& order) {
  Attempt& a = attempt(order.id);
  a.phase = Phase::held;
  a.held.clear();
  a.held.append(in_hand_.raw);
  a.held_head = in_hand_.raw.size();
  a.held.append(in_hand_.data);
  a.held_trailers.clear();
  a.held_trailers.append(in_hand_.trailers);
  held_charge_.set(a.held.size());
}

void ExchangeDriver::perform(const exchange::DropReplay&) {
  overflow_reported_ = replay_dropped_ = true;  // it was the exchange's own order
  drop_replay();
}

/// Not before a copy of the request, if there is to be one, has got the whole body.
void ExchangeDriver::drop_replay() noexcept {
  if (!replay_dropped_ || mirror_) return;
  body_.drop_replay();
  if (const Attempt* taker = body_taker(); taker != nullptr) forget_body(*taker);
}

void ExchangeDriver::perform(const exchange::RelayInterim& order) {
  if (in_hand_.attempt == &attempt(order.id)) downstream_->send_interim(*in_hand_.head);
}

void ExchangeDriver::perform(const exchange::RelayResponse& order) {
  Attempt& a = attempt(order.id);
  relaying_ = &a;
  if (a.phase == Phase::held) return relay_held(a, order);
  if (in_hand_.attempt != &a) return;  // it died meanwhile, which the exchange is about to hear
  a.phase = Phase::relaying;
  const bool has_body = !in_hand_.end || !in_hand_.data.empty();
  if (order.truncate && has_body) return relay_half(a, order);
  if (in_hand_.head->status == 101) open_tunnel(a);
  downstream_->send_head(*in_hand_.head, {order.should_not_retry, order.fallback}, in_hand_.data, in_hand_.end,
                         in_hand_.trailers);
}

/// The request goes on, as a body that nobody can send twice and that ends when the client says so.
void ExchangeDriver::open_tunnel(Attempt& a) {
  has_body_ = overflow_reported_ = true;
  body_.begin(0, false);
  a.body_at = 0;
  a.body_ended = false;
  downstream_->open_tunnel();
}

/// Breaks an answer off as if its upstream had died: half of what there is of the body goes out, never all of it.
void ExchangeDriver::relay_half(Attempt& a, const exchange::RelayResponse& order) {
  const std::string_view half = in_hand_.data.substr(0, in_hand_.data.size() / 2);
  downstream_->send_head(*in_hand_.head, {order.should_not_retry, order.fallback}, half, false, {});
  if (UpstreamStream* stream = std::exchange(a.stream, nullptr)) stream->abort(Reason::closed_early);
  a.whole = false;
  feed(exchange::AttemptFailed{a.id, Reason::closed_early, Exposure::fully_sent, false});
}

void ExchangeDriver::perform(const exchange::CloseDownstream&) { downstream_->cut(); }

void ExchangeDriver::perform(const exchange::Reply& order) { downstream_->send_reply(order); }

void ExchangeDriver::perform(const exchange::ServeCached& order) {
  downstream_->send_cached(*order.hit, order.fallback);
}

void ExchangeDriver::perform(const exchange::StoreResponse& order) {
  if (in_hand_.attempt != &attempt(order.id)) return;
  const TimePoint now = edge_.loop.now();
  store_.begin(order, *in_hand_.head, edge_.loop.wall_us() / 1'000'000, now);
  store_.append(in_hand_.data, now);
  if (in_hand_.end) store_.end(true, now);
}

void ExchangeDriver::relay_held(Attempt& a, const exchange::RelayResponse& order) {
  a.phase = Phase::relaying;
  http::HeadScan scan;
  const http::HeadLimits any{.max_head = SIZE_MAX, .max_fields = http::kMaxFields};
  const std::string_view raw = a.held.view().substr(0, a.held_head);
  edge_.loop.parser.parse_response(raw, any, answers_head_, scan);
  downstream_->send_head(edge_.loop.parser.response(), {order.should_not_retry, order.fallback},
                         a.held.view().substr(a.held_head), a.whole, a.held_trailers.view());
  a.held.release();
  held_charge_.set(0);
  if (a.whole) return feed(exchange::ResponseDone{a.id});
  a.stream->resume();
  push_body(a);
}

// ---- what attempts report ---------------------------------------------------------------------

void ExchangeDriver::connected(Attempt& a, bool reused) {
  a.phase = Phase::running;
  feed(exchange::Connected{a.id, reused});
  if (a.phase == Phase::running) send_request(a);
}

/// A copy goes out once, behind the first attempt that was sent as a whole.
void ExchangeDriver::request_sent(Attempt& a) {
  feed(exchange::RequestSent{a.id});
  const bool instead = a.elsewhere || timeline_.attempts[exchange::index(a.id)].kind == exchange::AttemptKind::fallback;
  if (!mirror_ || instead) return;
  std::unique_ptr<Mirror> mirror = std::move(mirror_);
  if (!has_body_) return Mirror::send(std::move(mirror), tail_of(a), {}, {});
  if (body_.complete() && body_.replayable()) {
    Mirror::send(std::move(mirror), tail_of(a), body_.from(0), trailers_.view());
  }
  drop_replay();
}

http::AttemptTail ExchangeDriver::tail_of(const Attempt& a) const {
  http::AttemptTail tail{.attempt = a.n, .hedge = a.hedge, .forward = route_->forward};
  if (a.forward) {
    // Connecting has cost time since the order was given; the attempt's own limit only begins now.
    const Nanos left = time_left(edge_.loop.now(), exchange_->deadline()) - route_->plan.policy->deadline.margin;
    tail.time_left = std::max(std::min(*a.forward, left), Nanos{1});
  }
  return tail;
}

void ExchangeDriver::send_request(Attempt& a) {
  if (a.elsewhere && !fallback_head_.empty()) {
    // Nothing but reconnects follows it.
    head_base_ = fallback_head_.size();
    std::swap(head_, fallback_head_);
    fallback_head_.clear();
  }
  head_.truncate(head_base_);
  http::append_attempt_tail(tail_of(a), head_);
  const std::string_view body = next_piece(a);
  a.body_ended = !has_body_ || (body_.complete() && a.body_at + body.size() == body_.size() && trailers_.empty());
  a.stream->start(head_.view(), body, chunked_, answers_head_, a.body_ended);
  if (!has_body_ || a.stream == nullptr) return;
  a.body_at += body.size();
  if (a.stream->backlog() == 0) push_body(a);
  if (downstream_ != nullptr) downstream_->resume_body();
}

/// Passes on what waits for an attempt, now that its stream can take it. One that was put aside gets nothing until it
/// is relayed after all, and never anything behind a gap.
void ExchangeDriver::push_body(Attempt& a) {
  const bool takes = a.phase == Phase::running || a.phase == Phase::relaying;
  if (!has_body_ || a.stream == nullptr || !takes || !body_.holds(a.body_at)) return;
  while (a.stream->backlog() == 0 && a.body_at < body_.size()) {
    const std::string_view piece = next_piece(a);
    a.stream->send_body(piece);
    a.body_at += piece.size();
  }
  forget_body(a);
  if (body_.complete() && a.body_at == body_.size() && !a.body_ended) {
    a.body_ended = true;
    a.stream->send_end(trailers_.view());
  }
  if (a.stream != nullptr && a.stream->backlog() == 0 && downstream_ != nullptr) downstream_->resume_body();
}

/// What the stream may be given next: what it cannot pass on it would keep once more.
std::string_view ExchangeDriver::next_piece(const Attempt& a) const noexcept {
  return has_body_ ? body_.from(a.body_at).substr(0, downstream_->relay_limit()) : std::string_view{};
}

/// What has reached an upstream is not needed for long.
void ExchangeDriver::forget_body(const Attempt& a) noexcept {
  if (a.stream->any_sent()) body_.forget_before(a.body_at);
}

void ExchangeDriver::interim(Attempt& a, const http::ResponseHead& head) {
  in_hand_ = {.attempt = &a, .head = &head};
  feed(exchange::InterimHead{a.id, head.status});
  in_hand_ = {};
}

void ExchangeDriver::response(Attempt& a, const HeadInHand& in_hand) {
  const http::ResponseHead& head = *in_hand.head;
  a.whole = in_hand.end;
  if (a.whole) a.stream = nullptr;
  in_hand_ = in_hand;
  std::optional<Nanos> retry_after;
  if (head.status == 429 || head.status == 503) {
    retry_after = http::retry_after_of(*head.fields, edge_.loop.wall_us() / 1'000'000);
  }
  feed(exchange::ResponseHead{a.id, head.status, head.fields->view(), retry_after});
  in_hand_ = {};
  if (!a.whole) return;
  if (a.phase == Phase::relaying) feed(exchange::ResponseDone{a.id});
  if (a.phase == Phase::held) feed(exchange::HeldState{a.id, true, false});
}

void ExchangeDriver::response_data(Attempt& a, std::string_view data) {
  if (a.phase == Phase::relaying) {
    store_.append(data, edge_.loop.now());
    return downstream_->send_body(data);
  }
  a.held.append(data);
  held_charge_.set(a.held.size());
}

void ExchangeDriver::response_end(Attempt& a, std::string_view trailers) {
  a.stream = nullptr;
  a.whole = true;
  if (a.phase == Phase::held) {
    a.held_trailers.append(trailers);
    return feed(exchange::HeldState{a.id, true, false});
  }
  store_.end(true, edge_.loop.now());
  feed(exchange::ResponseDone{a.id});
  if (downstream_ != nullptr) downstream_->send_end(trailers);
}

void ExchangeDriver::failed(Attempt& a, Reason why, Exposure exposure, bool reused) {
  a.stream = nullptr;
  if (a.phase != Phase::held) return feed(exchange::AttemptFailed{a.id, why, exposure, reused});
  end_attempt(a);
  feed(exchange::HeldState{a.id, false, true});
}

std::size_t ExchangeDriver::allowance(const Attempt& a) const noexcept {
  if (a.phase == Phase::held) {
    const std::size_t body = a.held.size() - a.held_head;
    const bool room = edge_.loop.account.room();
    return room && body < kMaxHeldBody ? kMaxHeldBody - body : 0;
  }
  const std::size_t limit = downstream_->relay_limit();
  const std::size_t waiting = downstream_->backlog();
  return waiting > limit / 2 ? 0 : limit - waiting;
}

void ExchangeDriver::end_attempt(Attempt& a, Reason why) {
  if (UpstreamStream* stream = std::exchange(a.stream, nullptr)) stream->abort(why);
  if (a.phase == Phase::held) held_charge_.set(0);
  a.held.release();
  a.phase = Phase::over;
  if (relaying_ != &a) return;
  store_.end(false, edge_.loop.now());
  relaying_ = nullptr;
}

// ---- what the downstream reports --------------------------------------------------------------

ExchangeDriver::Attempt* ExchangeDriver::body_taker() noexcept {
  for (std::size_t i = attempts_used_; i-- > 0;) {
    Attempt& a = attempts_[i];
    if (a.stream == nullptr || (a.phase != Phase::running && a.phase != Phase::relaying)) continue;
    return a.stream->any_sent() && a.stream->backlog() == 0 && a.body_at == body_.size() ? &a : nullptr;
  }
  return nullptr;
}

std::size_t ExchangeDriver::body_allowance() noexcept {
  if (!exchange_ || !has_body_ || body_.complete()) return 0;
  const std::size_t limit = downstream_->relay_limit();
  if (body_taker() != nullptr) return limit;
  if (body_.replayable()) return static_cast<std::size_t>(std::min<std::uint64_t>(body_.replay_room(), limit));
  const std::size_t waiting = body_.held();
  return waiting > limit / 2 ? 0 : limit - waiting;
}

void ExchangeDriver::on_body(std::string_view data) {
  if (!exchange_) return;
  bytes_in_ += data.size();
  Attempt* taker = body_taker();
  if (taker != nullptr && !body_.replayable() && body_.held() == 0) {
    body_.pass(data.size());
    taker->body_at = body_.size();
    return taker->stream->send_body(data);
  }
  body_.keep(data);
  if (taker != nullptr) push_body(*taker);
  report_overflow();
}

void ExchangeDriver::on_body_end(std::string_view trailers) {
  if (!exchange_) return;
  body_.set_complete();
  trailers_.append(trailers);
  Attempt* taker = body_taker();
  if (taker != nullptr) push_body(*taker);
  feed(exchange::BodyState{true, replay_dropped_ || !body_.replayable()});
}

void ExchangeDriver::report_overflow() {
  if (overflow_reported_ || body_.replayable()) return;
  overflow_reported_ = true;
  feed(exchange::BodyState{body_.complete(), true});
}

void ExchangeDriver::on_downstream_drained() {
  if (relaying_ != nullptr && relaying_->stream != nullptr) relaying_->stream->resume();
}

}  // namespace outrigger::net
