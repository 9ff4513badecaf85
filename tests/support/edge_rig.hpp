// tests/support/edge_rig.hpp
//
// A whole worker in one thread with its clients and upstreams in the test's hand: real sockets on loopback, a real
// configuration, real connections on both sides, and a clock of the test's own.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <doctest/doctest.h>

#include "proxy/config/load.hpp"
#include "proxy/config/snapshot.hpp"
#include "proxy/net/edge.hpp"
#include "proxy/net/exchange_driver.hpp"
#include "proxy/net/h1_downstream.hpp"
#include "proxy/server/cache_memory.hpp"
#include "tests/support/loop_rig.hpp"
#include "tests/support/peer.hpp"

namespace outrigger::test {

/// What a test adds to the smallest configuration: further keys of its blocks, in flow style and with a comma first,
/// and further lines at its end.
struct EdgeConfig {
  std::string listener = {};
  std::string upstream = {};
  std::string route = {};
  std::string rest = {};
  std::size_t endpoints = 1;
  std::optional<std::string> mirror = {};  // of the route, to the upstream `copy`
  std::optional<std::string> copy = {};    // further keys of that upstream, which is there without a mirror, too

  bool has_copy() const { return mirror || copy; }
  std::string text() const {
    const std::string second = "  copy: {endpoints: ['127.0.0.1:2'], connect_timeout: 3s" + copy.value_or("") + "}\n";
    const std::string to_copy = mirror ? ", mirror: {upstream: copy" + *mirror + "}" : "";
    return "version: 1\ninstance: rig\nlisteners:\n- {name: in, listen: '127.0.0.1:0'" + listener +
           "}\nupstreams:\n  up: {endpoints: ['127.0.0.1:1']" + upstream + "}\n" + (has_copy() ? second : "") +
           "routes:\n- {upstream: up" + route + to_copy + "}\n" + rest;
  }
};

class EdgeRig : public LoopRig {
 public:
  explicit EdgeRig(const EdgeConfig& config = {}, std::size_t keep_timelines = 1000)
      : timelines_(keep_timelines, 1),
        edge(loop, process, timelines_, log_.worker(0), *metrics.policy_row(0, telemetry::kUnrouted)) {
    for (std::size_t i = 0; i < config.endpoints; ++i) {
      doors.push_back(std::make_unique<Door>());
      pools_.emplace_back(new net::ConnectionPool(loop, doors.back()->address(), *metrics.upstream_row(0, "up")));
    }
    use(config);
  }
  EdgeRig(const EdgeRig&) = delete;
  EdgeRig& operator=(const EdgeRig&) = delete;
  ~EdgeRig() {
    edge.cancel_all(Reason::drained);
    edge.close_connections();
    edge.end_mirrors();
    for (const auto& pool : pools_) pool->retire();
    copy_pool_->retire();
    // However a test leaves it, nothing is left of what was under way.
    CHECK(at_rest());
    CHECK(clients() == 0);
    CHECK(upstream_row().idle.value() == 0);
    CHECK(copies_under_way() == 0);
    CHECK(copy_row().idle.value() == 0);
    edge.view.reset();
    settle();
  }

  /// Puts a configuration in force, as a reload does; the endpoints stay.
  void use(const EdgeConfig& config) {
    const config::LoadResult loaded = config::load_text(config.text(), "rig.yaml", config::process_environment);
    CAPTURE(config.text());
    REQUIRE(loaded.ok());
    std::vector<config::ResolvedEndpoint> endpoints;
    for (const auto& door : doors) endpoints.push_back({door->address().text, 1});
    std::vector<std::vector<config::ResolvedEndpoint>> resolved{endpoints};
    if (config.has_copy()) resolved.push_back({{copy_door.address().text, 1}});
    auto built = config::build_snapshot(loaded.config, "rig", ++generation_, resolved, registry_, {.allowed = true});
    const auto snapshot = std::get<std::shared_ptr<const config::Snapshot>>(built);
    config::take_effect(*snapshot, loop.now());
    const config::UpstreamConfig& upstream = snapshot->config.upstreams.front();

    net::Ref<net::View> view(new net::View);
    for (const config::RoutePlan& row : snapshot->plans) {
      view->rows.push_back(telemetry::route_rows(metrics, 0, row.plan));
    }
    for (const auto& pool : pools_) {
      pool->configure({.idle_timeout = upstream.idle_timeout,
                       .read_idle_timeout = upstream.read_idle_timeout,
                       .max_requests_per_connection = upstream.max_requests_per_connection});
    }
    view->pools.push_back(pools_);
    view->pools.push_back({copy_pool_});
    view->listeners.push_back(&snapshot->config.listeners.front());
    view->snapshot = snapshot;
    loop.local.cursors.resize(2);
    edge.view = std::move(view);
  }

  /// A client that is connected. Small buffers make it a slow one as soon as it does not read.
  Peer client(int receive_buffer = 0, int send_buffer = 0) {
    Peer peer = front_.connect(receive_buffer);
    const int fd = ::accept4(front_.descriptor(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    REQUIRE(fd >= 0);
    if (send_buffer != 0) ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer);
    newest = new net::H1Downstream(edge, fd, listener, "127.0.0.1");
    return peer;
  }
  /// A client that has sent this.
  Peer client_with(std::string_view bytes) {
    Peer peer = client();
    peer.send(bytes);
    return peer;
  }

  /// The next connection that the edge makes to an endpoint.
  Peer upstream(std::size_t endpoint = 0) {
    Peer peer;
    REQUIRE(until([&] { return (peer = doors[endpoint]->accept()).open(); }));
    return peer;
  }
  /// The next connection that it makes for copies of requests.
  Peer copy() {
    Peer peer;
    REQUIRE(until([&] { return (peer = copy_door.accept()).open(); }));
    return peer;
  }
  bool no_copy() {
    settle();
    return !copy_door.accept().open();
  }
  /// Whether the edge makes none.
  bool no_upstream(std::size_t endpoint = 0) {
    settle();
    return !doors[endpoint]->accept().open();
  }

  /// What a peer gets up to these bytes, taken from it; what came behind them stays.
  std::string get(Peer& peer, std::string_view up_to) {
    std::string text;
    const bool came = until([&] {
      text += peer.take();
      return text.find(up_to) != std::string::npos || peer.ended();
    });
    CAPTURE(text);
    REQUIRE((came && text.find(up_to) != std::string::npos));
    const std::size_t end = text.find(up_to) + up_to.size();
    peer.put_back(text.substr(end));
    return text.substr(0, end);
  }
  std::string head(Peer& peer) { return get(peer, "\r\n\r\n"); }
  /// A head with a Content-Length, and the body behind it.
  std::string message(Peer& peer) {
    std::string text = head(peer);
    const std::size_t field = text.find("Content-Length: ");
    REQUIRE(field != std::string::npos);
    const std::size_t size = std::stoul(text.substr(field + 16));
    REQUIRE(until([&] { return peer.received().size() >= size || peer.ended(); }));
    const std::string rest = peer.take();
    peer.put_back(std::string_view{rest}.substr(std::min(size, rest.size())));
    return text + rest.substr(0, size);
  }
  /// Everything a peer gets until the other side closes.
  std::string get_all(Peer& peer) {
    REQUIRE(until([&] { return peer.ended(); }));
    return peer.take();
  }

  /// The account of a request.
  exchange::Timeline timeline(std::string_view request_id) {
    exchange::Timeline timeline;
    REQUIRE(until([&] { return timelines_.find(request_id).has_value(); }));
    timelines_.find(request_id)->restore(timeline);
    return timeline;
  }
  const net::View& view() { return *edge.view; }
  telemetry::UpstreamRow& upstream_row() { return *metrics.upstream_row(0, "up"); }
  std::uint64_t connects(Reason result) { return upstream_row().connects[static_cast<std::size_t>(result)].value(); }
  std::uint64_t rejected(Reason why) { return listener.row->rejected[static_cast<std::size_t>(why)].value(); }
  std::int64_t kept_bytes() const {
    return account.used(net::BufferKind::replay) + account.used(net::BufferKind::held);
  }
  std::int64_t attempts_in_flight() {
    std::int64_t sum = 0;
    for (const policy::Endpoint& endpoint : view().snapshot->endpoint_sets.front().endpoints) {
      sum += endpoint.state->in_flight.load();
    }
    return sum;
  }
  telemetry::UpstreamRow& copy_row() { return *metrics.upstream_row(0, "copy"); }
  /// By all that counts them, which must agree.
  std::int64_t copies_under_way() {
    const std::int64_t connections_busy = copy_row().active.value();
    const config::Snapshot& snapshot = *view().snapshot;
    const auto& mirror = snapshot.plans.front().mirror;
    if (mirror) {
      CHECK(mirror->state->in_flight() == connections_busy);
      CHECK(snapshot.endpoint_sets.back().endpoints.front().state->in_flight.load() == connections_busy);
    }
    if (connections_busy == 0) CHECK(account.used(net::BufferKind::mirror) == 0);
    return connections_busy;
  }
  /// Whether nothing is under way and nothing is kept; idle connections may be there.
  bool at_rest() {
    settle();
    return edge.in_flight() == 0 && kept_bytes() == 0 && attempts_in_flight() == 0 &&
           upstream_row().active.value() == 0 && view().rows.front().policy->in_flight.value() == 0;
  }
  /// Wakes all whose waiting has come to an end.
  void wake_all() {
    for (const Ticket& ticket : std::exchange(woken_.tickets, {})) edge.wake(ticket, false);
    settle();
  }
  std::int64_t clients() const { return process.downstream_connections.load(); }

  net::ProcessState process;
  std::atomic<std::int64_t> connections{0};  // of the listener
  std::vector<std::unique_ptr<Door>> doors;  // the endpoints
  Door copy_door;                            // the mirror's one
  net::H1Downstream* newest = nullptr;       // our side of the last client, while its connection stands

 private:
  Door front_;
  telemetry::Log log_{{.level = telemetry::LogLevel::error}, 1, &net::wall_now_us};
  telemetry::TimelineStore timelines_;
  /// Notes who is woken, until `wake_all`.
  struct Woken final : Wakeups {
    void wake(const Ticket& ticket) noexcept override { tickets.push_back(ticket); }
    std::vector<Ticket> tickets;
  };
  Woken woken_;
  server::CacheMemory memory_{account};
  config::StateRegistry registry_{1, {woken_, memory_, [] { return std::uint64_t{42}; }}};
  std::uint64_t generation_ = 0;
  std::vector<net::Ref<net::ConnectionPool>> pools_;
  const net::Ref<net::ConnectionPool> copy_pool_{
      new net::ConnectionPool(loop, copy_door.address(), *metrics.upstream_row(0, "copy"))};

 public:
  net::ListenerInfo listener{
      .index = 0, .name = "in", .row = metrics.listener_row(0, "in"), .connections = &connections, .local = true};
  net::Edge edge;
};

}  // namespace outrigger::test
