#include "proxy/net/mirror.hpp"

#include <algorithm>
#include <utility>

#include "proxy/http/chunked.hpp"

namespace outrigger::net {

std::unique_ptr<Mirror> Mirror::of(Edge& edge, const Ref<View>& view, std::size_t route, const http::RequestHead& head,
                                   const http::RequestForward& forward, const exchange::RequestFacts& facts,
                                   std::size_t max_response_head) {
  const config::MirrorPlan& plan = *view->snapshot->plans[route].mirror;
  if (plan.fraction < 1 && edge.loop.local.rng.uniform() >= plan.fraction) return nullptr;
  std::unique_ptr<Mirror> mirror(new Mirror(edge, view, route, head, max_response_head));
  mirror->balance_key_ = exchange::balance_key(plan.upstream, facts);
  http::RequestForward to_mirror = forward;
  to_mirror.host = plan.host;
  http::write_request_head(head, to_mirror, mirror->request_);
  return mirror;
}

Mirror::Mirror(Edge& edge, const Ref<View>& view, std::size_t route, const http::RequestHead& head,
               std::size_t max_response_head)
    : edge_(edge),
      view_(view),
      route_(view->snapshot->plans[route]),
      max_response_head_(max_response_head),
      chunked_(head.body.framing == http::Framing::chunked),
      answers_head_(head.method == http::Method::head),
      charge_(edge.loop.account, BufferKind::mirror) {}

Mirror::~Mirror() {
  if (stream_ != nullptr) stream_->abort(Reason::drained);
}

void Mirror::send(std::unique_ptr<Mirror> mirror, http::AttemptTail tail, std::string_view body,
                  std::string_view trailers) {
  if (!mirror->admit(body.size())) return mirror->edge_.loop.row.mirrors_dropped.add();
  tail.mirror = true;
  mirror->write(tail, body, trailers);
  Edge& edge = mirror->edge_;
  edge.adopt(std::move(mirror)).begin();
}

/// Whether there may be one more, and room for it.
bool Mirror::admit(std::size_t body) noexcept {
  const config::MirrorPlan& plan = *route_.mirror;
  among_mirrors_ = plan.state->admit(plan.places, Priority::standard, nullptr).permit;
  return among_mirrors_ && charge_.try_set(request_.size() + body);
}

/// The whole request as bytes, in the framing that its head names.
void Mirror::write(const http::AttemptTail& tail, std::string_view body, std::string_view trailers) {
  http::append_attempt_tail(tail, request_);
  if (!chunked_) return request_.append(body);
  if (!body.empty()) {
    request_.append(http::ChunkHeader(body.size()).view());
    request_.append(body);
    request_.append(http::kChunkEnd);
  }
  request_.append(http::kLastChunk);
  request_.append(trailers);
  request_.append(http::kChunkEnd);
}

void Mirror::begin() {
  Loop& loop = edge_.loop;
  const exchange::Upstream& to = *route_.mirror->upstream;
  const std::size_t upstream = policy::index(to.id);
  policy::Slot slot;
  const auto anywhere = [](policy::EndpointId) { return true; };
  const exchange::Placing placing = exchange::place(to, {.balance = to.balance, .avoided = {}, .key = balance_key_},
                                                    Priority::low, loop.local, loop.now(), anywhere, slot);
  if (placing == exchange::Placing::full) loop.row.mirrors_dropped.add();
  if (placing != exchange::Placing::placed) return end();
  slot_ = std::move(slot.permit);
  const Nanos overall = route_.plan.policy->overall_timeout;
  ends_ = saturating_add(loop.now(), overall.count() != 0 ? overall : kLongest);
  ConnectionPool& pool = *view_->pools[upstream][policy::index(slot.endpoint)];
  stream_ = pool.take(*this, exchange::Reuse::recent);
  if (stream_ != nullptr) return start();
  Reason why{};
  stream_ = pool.connect(*this, why);
  if (stream_ == nullptr) return end();
  set(loop.wheel, std::min(ends_, saturating_add(loop.now(), to.connect_timeout)));
}

void Mirror::start() {
  set(edge_.loop.wheel, ends_);
  stream_->start(request_.view(), {}, false, answers_head_, true);
  request_.release();
}

void Mirror::on_due(TimePoint) {
  std::exchange(stream_, nullptr)->abort(Reason::connect_timeout);  // counted where it was still connecting
  end();
}

/// Its stream has ended by itself, or was never there.
void Mirror::end() {
  stream_ = nullptr;
  edge_.end(*this);
}

}  // namespace outrigger::net
