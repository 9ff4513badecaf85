#include "proxy/server/worker.hpp"

#include <pthread.h>

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

/// Makes the worker's own view of a snapshot and puts it in force.
void Worker::use(std::shared_ptr<const config::Snapshot> snapshot) {
  net::Ref<net::View> view(new net::View);
  telemetry::MetricRegistry& metrics = *setup_.metrics;
  const std::uint32_t me = setup_.index;
  for (const config::RoutePlan& row : snapshot->plans) {
    view->rows.push_back(telemetry::route_rows(metrics, me, row.plan));
  }
  std::map<std::string, net::Ref<net::ConnectionPool>> pools;
  for (std::size_t i = 0; i < snapshot->upstreams.size(); ++i) {
    const std::string name(snapshot->upstreams[i].name);
    auto& row = view->pools.emplace_back();
    for (const policy::Endpoint& endpoint : snapshot->endpoint_sets[i].endpoints) {
      row.push_back(pools[name + '\n' + endpoint.address] = pool(name, endpoint, *snapshot, i));
    }
  }
  for (auto& [name, unused] : pools_) {
    if (!pools.contains(name)) unused->retire();
  }
  pools_ = std::move(pools);
  for (const net::ListenerInfo& info : listener_infos_) {
    const auto found = std::ranges::find(snapshot->config.listeners, info.name, &config::ListenerConfig::name);
    view->listeners.push_back(&*found);
  }
  loop_.local.cursors.resize(std::max(loop_.local.cursors.size(), snapshot->upstreams.size()));
  view->snapshot = std::move(snapshot);
  edge_.view = std::move(view);
}

net::Ref<net::ConnectionPool> Worker::pool(const std::string& upstream, const policy::Endpoint& endpoint,
                                           const config::Snapshot& snapshot, std::size_t upstream_index) {
  net::Ref<net::ConnectionPool>& known = pools_[upstream + '\n' + endpoint.address];
  if (!known) {
    known = net::Ref<net::ConnectionPool>(new net::ConnectionPool(
        loop_, *net::parse_address(endpoint.address), *setup_.metrics->upstream_row(setup_.index, upstream)));
  }
  const config::UpstreamConfig& config = snapshot.config.upstreams[upstream_index];
  known->configure({.idle_timeout = config.idle_timeout,
                    .read_idle_timeout = config.read_idle_timeout,
                    .max_requests_per_connection = config.max_requests_per_connection});
  return known;
}

void Worker::accepted(const net::ListenerInfo& listener, int descriptor, std::string peer) {
  const auto load_of = [](const Worker& worker) { return worker.edge_.load.load(std::memory_order_relaxed); };
  Worker* emptiest = this;
  for (const auto& other : *setup_.all) {
    if (load_of(*other) < load_of(*emptiest)) emptiest = other.get();
  }
  if (load_of(*this) < load_of(*emptiest) + 2) return adopt(listener.index, descriptor, std::move(peer));
  emptiest->edge_.load.fetch_add(1, std::memory_order_relaxed);
  emptiest->post([emptiest, index = listener.index, descriptor, peer = std::move(peer)] {
    emptiest->adopt(index, descriptor, peer);
    emptiest->edge_.load.fetch_sub(1, std::memory_order_relaxed);
  });
}

void Worker::adopt(std::size_t listener, int descriptor, std::string peer) {
  auto* connection = new net::H1Downstream(edge_, descriptor, listener_infos_[listener], std::move(peer));
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
}

void Worker::stop_listening() { listeners_.clear(); }

void Worker::stop() {
  listeners_.clear();
  edge_.cancel_all(Reason::drained);
  edge_.close_connections();
  edge_.end_mirrors();
  for (auto& [name, pool] : pools_) pool->retire();
  pools_.clear();
  loop_.stop();
}

}  // namespace outrigger::server
