#include "tests/sim/edge.hpp"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "tests/support/show.hpp"

namespace outrigger::sim {

using namespace exchange;
using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t kHeldInMemory = 64 * 1024;
constexpr int kChunks = 8;
constexpr Nanos kWriteIdle = 30s;
constexpr Nanos kSeen = 300us;  // until a write to a dead connection is answered

RequestFacts facts_of(const Request& request, std::string_view client, std::uint32_t worker, std::uint64_t number) {
  RequestFacts facts;
  facts.ticket = {.worker = worker, .slot = 0, .generation = number};
  facts.priority = request.priority;
  facts.idempotent = request.idempotent;
  facts.has_body = request.body_bytes != 0;
  facts.body_fits_replay = request.body_bytes <= kHeldInMemory;
  facts.client_deadline = request.deadline;
  facts.client_ip = client;
  facts.method = request.idempotent ? "GET" : "POST";
  return facts;
}

}  // namespace

// ---- one attempt's connection ---------------------------------------------------------------

class Edge::Try : public Caller, public std::enable_shared_from_this<Edge::Try> {
 public:
  Try(Edge& edge, const StartAttempt& order)
      : edge_(edge.weak_from_this()),
        id_(order.id),
        server_(edge.sidecar_.upstream(order.endpoint)),
        world_(edge.world_),
        worker_(edge.worker_) {}

  void open(Reuse reuse) {
    bool stale = false;
    reused_ = server_.take_pooled(worker_, reuse, stale);
    if (!reused_) return server_.connect(shared_from_this());
    connected();
    if (!stale) return;
    dead_ = true;
    world_.after(kSeen, [self = shared_from_this()] { self->died(Reason::closed_early); });
  }

  void connected() override {
    connected_ = true;
    const auto edge = edge_.lock();
    edge->exposed_ = true;
    edge->feed(Connected{id_, reused_});
    if (closed_) return;
    if (!dead_) server_.request(shared_from_this(), false);
    edge->body_arrived();
    send_if_whole();
  }
  void send_if_whole() {
    const auto edge = edge_.lock();
    if (closed_ || sent_ || !connected_ || !edge->body_complete_) return;
    sent_ = true;
    edge->feed(RequestSent{id_});
    if (!closed_ && !dead_) server_.request(shared_from_this(), true);
  }
  void unreachable(Reason why) override { fail(why, Exposure::nothing_sent); }
  void interim(std::uint16_t status) override { edge_.lock()->feed(InterimHead{id_, status}); }
  void head(const Answer& answer) override {
    if (headed_) return;
    headed_ = true;
    answer_ = answer;
    static constexpr Field kPushback[] = {{"X-Should-Retry", "false"}};
    const HeaderView headers = answer.pushback ? HeaderView{kPushback} : HeaderView{};
    edge_.lock()->feed(ResponseHead{id_, answer.status, headers, answer.retry_after});
  }
  void died(Reason why) override {
    if (closed_) return;
    if (headed_ && held_) return lost();
    fail(why, sent_ ? Exposure::fully_sent : Exposure::partly_sent);
  }
  bool closed() const override { return closed_; }
  bool sending() const { return connected_ && !closed_; }

  void close() {
    if (std::exchange(closed_, true)) return;
    server_.hung_up(this);
  }
  void hold() {
    held_ = true;
    if (answer_.body_bytes <= kHeldInMemory) return stream(answer_.body_time);
    const double share = static_cast<double>(kHeldInMemory) / answer_.body_bytes;
    const Nanos until_full{static_cast<std::int64_t>(share * static_cast<double>(answer_.body_time.count()))};
    left_ = answer_.body_time - until_full;
    world_.after(until_full, [self = shared_from_this()] { self->full(); });
  }
  void relay() {
    relaying_ = true;
    if (closed_ && !whole_) return;  // it died; the fact is on its way
    if (whole_) return finish_body();
    if (!held_) return stream(answer_.body_time);
    if (paused_) stream(left_);
  }

 private:
  void stream(Nanos time) {
    const Nanos until = answer_.dies_in_body ? time / 2 : time;
    world_.after(until, [self = shared_from_this(), dies = answer_.dies_in_body] {
      if (self->closed_) return;
      if (!dies) return self->body_ends();
      self->relaying_ ? self->fail(Reason::closed_early, Exposure::fully_sent) : self->lost();
    });
  }
  /// The memory for a held response is full: the rest stays unread, until somebody loses patience.
  void full() {
    if (closed_) return;
    if (relaying_) return stream(left_);
    paused_ = true;
    if (!answer_.dies_unread) return;
    world_.after(20ms, [self = shared_from_this()] {
      if (!self->closed_ && !self->relaying_) self->lost();
    });
  }
  void body_ends() {
    whole_ = true;
    close();
    if (sent_) server_.pool(worker_);
    if (relaying_) return finish_body();
    edge_.lock()->feed(HeldState{id_, true, false});
  }
  void finish_body() {
    const auto edge = edge_.lock();
    edge->feed(ResponseDone{id_});
    edge->deliver();
  }
  /// Nobody waits on a held connection, so its death is told a little later and may cross the order to relay it.
  void lost() {
    close();
    world_.after(kSeen, [self = shared_from_this()] {
      if (const auto edge = self->edge_.lock(); edge && !edge->retired_) edge->feed(HeldState{self->id_, false, true});
    });
  }
  void fail(Reason why, Exposure exposure) {
    close();
    edge_.lock()->feed(AttemptFailed{id_, why, exposure, reused_ && !headed_});
  }

  std::weak_ptr<Edge> edge_;
  AttemptId id_;
  ModelUpstream& server_;
  World& world_;
  std::uint32_t worker_;
  Answer answer_;
  Nanos left_{0};
  bool reused_ = false;
  bool dead_ = false;  // reused, and the server had closed it
  bool connected_ = false;
  bool sent_ = false;
  bool headed_ = false;
  bool held_ = false;
  bool paused_ = false;
  bool relaying_ = false;
  bool whole_ = false;
  bool closed_ = false;
};

// ---- the request ----------------------------------------------------------------------------

Edge::Edge(Sidecar& sidecar, std::uint32_t worker, const Request& request, std::uint64_t number)
    : sidecar_(sidecar),
      world_(sidecar.world()),
      worker_(worker),
      request_(request),
      client_(std::to_string(request.client)),
      number_(number),
      plan_(sidecar.plan()),
      facts_(facts_of(request, client_, worker, number)),
      check_(plan_, facts_, timeline_, sidecar.ledger()),
      exchange_(plan_, facts_, sidecar.worker(worker), timeline_),
      body_complete_(request.body_bytes == 0) {}

Edge::~Edge() = default;

void Edge::start() {
  sidecar_.invariants().begun();
  if (request_.patience) {
    world_.after(*request_.patience, [self = shared_from_this()] {
      if (!self->retired_) self->feed(DownstreamFailed{Reason::client_disconnected});
    });
  }
  feed(RequestReady{});
}

void Edge::feed(const Event& fact) {
  pending_.push_back(fact);
  if (draining_) return;
  draining_ = true;
  while (!pending_.empty()) {
    const Event next = pending_.front();
    pending_.pop_front();
    take(next);
  }
  draining_ = false;
  if (exchange_.finished()) return retire();
  arm();
}

void Edge::take(const Event& fact) {
  Actions orders;
  exchange_.on(world_.now(), fact, orders);
  sidecar_.invariants().broken(number_, check_.observe(world_.now(), fact, orders, exchange_));
  sidecar_.invariants().broken(number_, sidecar_.compare());
  sidecar_.observe();
  if (sidecar_.replay()) {
    trace_ += "    " + test::show(world_.now() - timeline_.start) + " ms  " + test::show(fact) + "  ->  " +
              test::show(orders) + "\n";
    if (!sidecar_.invariants().holds()) print();  // it was this one, and it will not come to its end
  }
  for (const Action& order : orders) std::visit([this](const auto& each) { perform(each); }, order);
}

void Edge::arm() {
  const TimePoint at = exchange_.wakeup();
  if (at == kNever) return;
  const Nanos tick = std::max(Nanos{1}, sidecar_.tick());
  const TimePoint due{(at.time_since_epoch() + tick - 1ns) / tick * tick};
  if (due >= armed_) return;
  armed_ = due;
  world_.at(due, [self = shared_from_this()] {
    if (self->retired_) return;
    self->armed_ = kNever;
    self->feed(Tick{});
  });
}

void Edge::retire() {
  if (std::exchange(retired_, true)) return;
  // What comes too late must change nothing, so it is said once more.
  for (const Event& late : {Event{Tick{}}, Event{Delivered{}}, Event{HeldState{AttemptId{0}, false, true}}}) {
    Actions orders;
    exchange_.on(world_.now(), late, orders);
    sidecar_.invariants().broken(number_, check_.observe(world_.now(), late, orders, exchange_));
  }
  for (const auto& each : tries_) each->close();
  sidecar_.invariants().ended(timeline_);
  if (sidecar_.replay()) print();
  sidecar_.retired(this);
}

void Edge::print() const {
  std::printf("#%llu worker %u at %s ms: %s\n  attempts: %s\n  decisions: %s\n%s",
              static_cast<unsigned long long>(number_), worker_,
              test::show(timeline_.start.time_since_epoch() - 1h).c_str(), test::show_ending(timeline_).c_str(),
              test::show_attempts(timeline_).c_str(), test::show_decisions(timeline_).c_str(), trace_.c_str());
}

// ---- orders ---------------------------------------------------------------------------------

void Edge::perform(const StartAttempt& order) {
  if (order.kind != AttemptKind::reconnect)
    sidecar_.invariants().broken(number_, circuits_refuse(plan_, order.endpoint));
  const bool resendable =
      request_.idempotent || (plan_.policy->retry.has_value() && plan_.policy->retry->non_idempotent);
  const bool hedged = order.hedge != 0;  // of a method that is executed twice by design
  if (exposed_ && !resendable && !hedged)
    sidecar_.invariants().broken(number_, "I7 bytes of a POST are on two connections");
  if (exposed_ && overflowed_) sidecar_.invariants().broken(number_, "I7 there is no body left to send");
  tries_.push_back(std::make_shared<Try>(*this, order));
  tries_.back()->open(order.reuse);
}

void Edge::perform(const AbortAttempt& order) { tries_[index(order.id)]->close(); }
void Edge::perform(const HoldResponse& order) { tries_[index(order.id)]->hold(); }
void Edge::perform(const DropHeld& order) { tries_[index(order.id)]->close(); }
void Edge::perform(const DiscardResponse& order) { tries_[index(order.id)]->close(); }
void Edge::perform(const RelayResponse& order) { tries_[index(order.id)]->relay(); }
void Edge::perform(const Reply&) { deliver(); }

void Edge::perform(const DropReplay&) {
  replay_limit_ = 0;
  body_arrived();
}

void Edge::perform(const ReadBody&) { chunk(1); }

// ---- the request body -----------------------------------------------------------------------

void Edge::chunk(int index) {
  world_.after(request_.body_time / kChunks, [self = shared_from_this(), index] {
    if (self->retired_) return;
    const bool nobody_sends =
        std::none_of(self->tries_.begin(), self->tries_.end(), [](const auto& each) { return each->sending(); });
    const std::uint32_t bytes = self->request_.body_bytes / kChunks;
    if (nobody_sends && !self->exposed_ && self->arrived_ + bytes > kHeldInMemory) {
      self->paused_chunk_ = index;  // back-pressure: nothing is lost of what was never sent
      return;
    }
    if (index == kChunks / 2 && self->request_.body_fails)
      return self->feed(DownstreamFailed{*self->request_.body_fails});
    self->arrived_ += bytes;
    if (index == kChunks) {
      self->body_complete_ = true;
      self->feed(BodyState{true, false});
      if (self->retired_) return;
      for (std::size_t i = 0; i < self->tries_.size(); ++i) self->tries_[i]->send_if_whole();
    } else {
      self->chunk(index + 1);
    }
    if (!self->retired_) self->body_arrived();
  });
}

/// Bytes that a connection has taken and the replay buffer cannot keep are gone.
void Edge::body_arrived() {
  if (paused_chunk_ >= 0 && exposed_) chunk(std::exchange(paused_chunk_, -1));
  lose_what_was_sent();
}

void Edge::lose_what_was_sent() {
  if (!exposed_ || overflowed_ || request_.body_bytes == 0 || arrived_ <= replay_limit_) return;
  overflowed_ = true;
  feed(BodyState{body_complete_, true});
}

// ---- the answer -----------------------------------------------------------------------------

void Edge::deliver() {
  if (std::exchange(delivering_, true)) return;
  if (!request_.reads) return client_stops_reading();
  world_.after(request_.reading, [self = shared_from_this()] {
    if (!self->retired_) self->feed(Delivered{});
  });
}

void Edge::client_stops_reading() {
  world_.after(kWriteIdle, [self = shared_from_this()] {
    if (!self->retired_) self->feed(DownstreamFailed{Reason::client_not_reading});
  });
}

}  // namespace outrigger::sim
