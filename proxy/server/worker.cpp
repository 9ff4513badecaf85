#include "proxy/server/worker.hpp"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>

#include "proxy/net/exchange_driver.hpp"
#include "proxy/net/h1_downstream.hpp"
#include "proxy/net/socket_address.hpp"

namespace outrigger::server {

Worker::Worker(const Setup& setup)
    : setup_(setup),
      timelines_(setup.keep_timelines, setup.sample_timelines),
      loop_(setup.index, setup.seed, *setup.account, *setup.metrics->worker_row(setup.index)),
      edge_(loop_, *setup.process, timelines_, setup.log->worker(setup.index),
            *setup.metrics->policy_row(setup.index, telemetry::kUnrouted)) {}

Worker::~Worker() { join(); }

void Worker::listen(int descriptor, const net::ListenerInfo& info) {
  listener_infos_.push_back(info);
  if (descriptor < 0) return;
  net::AcceptSink& sink = *this;
  listeners_.push_back(std::make_unique<net::Listener>(edge_, descriptor, info, sink));
}

void Worker::start() {
  thread_ = std::thread([this] { run(); });
}

void Worker::join() {
  if (thread_.joinable()) thread_.join();
}

void Worker::run() {
  const std::string name = "worker-" + std::to_string(setup_.index);
  ::pthread_setname_np(::pthread_self(), name.c_str());
  loop_.run();
}

namespace {

// What a handshake has left once the process is draining.
constexpr Nanos kHurry = std::chrono::seconds{1};

/// Connections are shared by what goes to one address under one upstream's name, encrypted in one way.
std::string pool_key(const config::Snapshot& snapshot, std::size_t upstream, std::size_t endpoint) {
  const config::UpstreamConfig& config = snapshot.config.upstreams[upstream];
  std::string key = config.name + '\n' + snapshot.endpoint_sets[upstream].endpoints[endpoint].address;
  if (config.tls) key += '\n' + snapshot.endpoint_hosts[upstream][endpoint] + '\n' + net::fingerprint(*config.tls);
  return key;
}

}  // namespace

/// Makes the worker's own view of a snapshot and puts it in force.
void Worker::use(std::shared_ptr<const config::Snapshot> snapshot, std::shared_ptr<const net::TlsContexts> tls) {
  net::Ref<net::View> view(new net::View);
  telemetry::MetricRegistry& metrics = *setup_.metrics;
  const std::uint32_t me = setup_.index;
  for (const config::RoutePlan& row : snapshot->plans) {
    view->rows.push_back(telemetry::route_rows(metrics, me, row.plan));
  }
  std::map<std::string, net::Ref<net::ConnectionPool>> pools;
  for (std::size_t i = 0; i < snapshot->upstreams.size(); ++i) {
    auto& row = view->pools.emplace_back();
    for (std::size_t e = 0; e < snapshot->endpoint_sets[i].endpoints.size(); ++e) {
      row.push_back(pools[pool_key(*snapshot, i, e)] = pool(*snapshot, tls.get(), i, e));
    }
  }
  for (auto& [name, unused] : pools_) {
    if (!pools.contains(name)) unused->retire();
  }
  pools_ = std::move(pools);
  const auto& listeners = snapshot->config.listeners;
  for (const net::ListenerInfo& info : listener_infos_) {
    const auto found = std::ranges::find(listeners, info.name, &config::ListenerConfig::name);
    view->listeners.push_back(&*found);
    view->listener_tls.push_back(tls ? tls->listeners[static_cast<std::size_t>(found - listeners.begin())] : nullptr);
  }
  loop_.local.cursors.resize(std::max(loop_.local.cursors.size(), snapshot->upstreams.size()));
  view->snapshot = std::move(snapshot);
  edge_.view = std::move(view);
}

net::Ref<net::ConnectionPool> Worker::pool(const config::Snapshot& snapshot, const net::TlsContexts* tls,
                                           std::size_t upstream, std::size_t endpoint) {
  const config::UpstreamConfig& config = snapshot.config.upstreams[upstream];
  net::Ref<net::ConnectionPool>& known = pools_[pool_key(snapshot, upstream, endpoint)];
  if (!known) {
    net::PoolTls how;
    if (config.tls && tls != nullptr) {
      const std::string& name = config.tls->name_of(snapshot.endpoint_hosts[upstream][endpoint]);
      how = {.context = tls->upstreams[upstream], .name = name, .log = &edge_.log};
    }
    known = net::Ref<net::ConnectionPool>(new net::ConnectionPool(
        loop_, *net::parse_address(snapshot.endpoint_sets[upstream].endpoints[endpoint].address),
        *setup_.metrics->upstream_row(setup_.index, config.name), std::move(how)));
  }
  known->configure({.idle_timeout = config.idle_timeout,
                    .read_idle_timeout = config.read_idle_timeout,
                    .max_requests_per_connection = config.max_requests_per_connection});
  return known;
}

void Worker::accepted(const net::ListenerInfo& listener, int descriptor, std::string peer) {
  if (edge_.view->listener_tls[listener.index]) return shake_hands(listener, descriptor, std::move(peer));
  place(listener, descriptor, std::move(peer), nullptr);
}

void Worker::shake_hands(const net::ListenerInfo& listener, int descriptor, std::string peer) {
  if (!handshaker_) {
    handshaker_ = std::make_unique<net::Handshaker>([this](net::Handshaker::Outcome outcome) {
      post([this, shared = std::make_shared<net::Handshaker::Outcome>(std::move(outcome))] {
        shaken(std::move(*shared));
      });
    });
  }
  // It counts from now on, for whoever looks whether there is room for another one.
  setup_.process->downstream_connections.fetch_add(1, std::memory_order_relaxed);
  listener.connections->fetch_add(1, std::memory_order_relaxed);
  const net::View& view = *edge_.view;
  const Nanos timeout = view.listeners[listener.index]->limits.head_timeout;
  const bool draining = setup_.process->draining.load(std::memory_order_relaxed);
  handshaker_->begin({.listener = listener.index,
                      .descriptor = descriptor,
                      .peer = std::move(peer),
                      .context = view.listener_tls[listener.index],
                      .timeout = draining ? std::min(timeout, kHurry) : timeout});
}

void Worker::shaken(net::Handshaker::Outcome outcome) {
  const net::ListenerInfo& listener = listener_infos_[outcome.listener];
  if (outcome.failure.empty()) {
    place(listener, outcome.descriptor, std::move(outcome.peer), std::move(outcome.tls));
  } else {
    listener.row->rejected[static_cast<std::size_t>(Reason::tls_failure)].add();
    edge_.log.write(telemetry::LogLevel::warn, "TLS with a client failed",
                    {{"listener", listener.name}, {"client", outcome.peer}, {"error", outcome.failure}});
  }
  setup_.process->downstream_connections.fetch_sub(1, std::memory_order_release);
  listener.connections->fetch_sub(1, std::memory_order_relaxed);
}

void Worker::place(const net::ListenerInfo& listener, int descriptor, std::string peer,
                   std::unique_ptr<net::TlsSession> tls) {
  const auto load_of = [](const Worker& worker) { return worker.edge_.load.load(std::memory_order_relaxed); };
  Worker* emptiest = this;
  for (const auto& other : *setup_.all) {
    if (load_of(*other) < load_of(*emptiest)) emptiest = other.get();
  }
  // Where the kernel spreads connections, a small difference is not worth a hand-over.
  const std::int64_t bearable = listener.alone ? 0 : 1;
  if (stopped_ || load_of(*this) <= load_of(*emptiest) + bearable) {
    return adopt(listener.index, descriptor, std::move(peer), std::move(tls));
  }
  emptiest->edge_.load.fetch_add(1, std::memory_order_relaxed);
  // It counts on its way, too.
  setup_.process->downstream_connections.fetch_add(1, std::memory_order_relaxed);
  listener.connections->fetch_add(1, std::memory_order_relaxed);
  // A task can be copied, a session cannot.
  auto session = std::make_shared<std::unique_ptr<net::TlsSession>>(std::move(tls));
  emptiest->post([emptiest, index = listener.index, descriptor, peer = std::move(peer), session] {
    emptiest->adopt(index, descriptor, peer, std::move(*session));
    emptiest->edge_.load.fetch_sub(1, std::memory_order_relaxed);
    emptiest->setup_.process->downstream_connections.fetch_sub(1, std::memory_order_relaxed);
    emptiest->listener_infos_[index].connections->fetch_sub(1, std::memory_order_relaxed);
  });
}

void Worker::adopt(std::size_t listener, int descriptor, std::string peer, std::unique_ptr<net::TlsSession> tls) {
  if (stopped_) {  // a hand-over that was under way
    ::close(descriptor);
    return;
  }
  auto* connection =
      new net::H1Downstream(edge_, descriptor, listener_infos_[listener], std::move(peer), std::move(tls));
  // One that came too late to be told with the others.
  if (setup_.process->draining.load(std::memory_order_relaxed)) connection->drain();
}

void Worker::drain() {
  edge_.drain_connections();
  std::erase_if(listeners_, [](const auto& listener) {
    if (listener->info().local) return false;
    // Who has connected before the drain is served.
    listener->accept_waiting();
    return true;
  });
  if (handshaker_) handshaker_->hurry(kHurry);
}

/// Who has connected before is served, here too.
void Worker::stop_listening() {
  for (const auto& listener : listeners_) listener->accept_waiting();
  listeners_.clear();
}

void Worker::stop() {
  stopped_ = true;
  listeners_.clear();
  handshaker_.reset();
  edge_.cancel_all(Reason::drained);
  edge_.close_connections();
  edge_.end_mirrors();
  for (auto& [name, pool] : pools_) pool->retire();
  pools_.clear();
  loop_.stop();
}

}  // namespace outrigger::server
