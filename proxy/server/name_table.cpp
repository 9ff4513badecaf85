#include "proxy/server/name_table.hpp"

#include <algorithm>
#include <set>

#include "proxy/net/socket_address.hpp"

namespace outrigger::server {
namespace {

bool is_name(const config::HostPort& address) { return !net::parse_address(config::to_string(address)); }

/// The endpoints of one upstream as they are found; an address counts once.
class Gathered {
 public:
  void add(const std::string& address, const config::EndpointConfig& written) {
    const auto [known, is_new] = positions_.try_emplace(address, endpoints.size());
    if (!is_new) {
      endpoints[known->second].weight += written.weight;
    } else if (endpoints.size() < NameTable::kMaxEndpoints) {
      endpoints.push_back({address, written.weight, written.address.host});
    } else {
      positions_.erase(known);
    }
  }
  std::vector<config::ResolvedEndpoint> endpoints;

 private:
  std::map<std::string, std::size_t> positions_;
};

}  // namespace

void NameTable::add(const config::Config& config, TimePoint now) {
  for (const config::UpstreamConfig& upstream : config.upstreams) {
    for (const config::EndpointConfig& endpoint : upstream.endpoints) {
      if (!is_name(endpoint.address)) continue;
      const auto [entry, is_new] = names_.try_emplace({upstream.name, config::to_string(endpoint.address)});
      Name& name = entry->second;
      if (is_new) {
        name.id = ++last_id_;
        name.address = endpoint.address;
        name.due = now;
      }
      name.refresh = upstream.dns.refresh;
      name.timeout = upstream.dns.timeout;
    }
  }
}

void NameTable::keep_only(const config::Config& config) {
  std::set<Key> kept;
  for (const config::UpstreamConfig& upstream : config.upstreams) {
    for (const config::EndpointConfig& endpoint : upstream.endpoints) {
      kept.emplace(upstream.name, config::to_string(endpoint.address));
    }
  }
  std::erase_if(names_, [&](const auto& entry) { return !kept.contains(entry.first); });
}

void NameTable::hurry(TimePoint now) {
  for (auto& [key, name] : names_) name.due = std::min(name.due, now);
}

std::vector<NameTable::Question> NameTable::take_due(TimePoint now) {
  std::vector<Question> questions;
  for (auto& [key, name] : names_) {
    if (name.asked || now < name.due) continue;
    name.asked = true;
    name.expires = saturating_add(now, name.timeout);
    questions.push_back({name.id, name.address});
  }
  return questions;
}

NameTable::Events NameTable::answer(Id id, Addresses addresses, TimePoint now) {
  Events events;
  const auto entry = std::ranges::find(names_, id, [](const auto& each) { return each.second.id; });
  if (entry == names_.end()) return events;  // forgotten meanwhile
  auto& [key, name] = *entry;
  name.asked = false;
  name.tried = true;
  name.expires = kNever;
  if (addresses.empty()) {
    fail(key, name, events);
  } else {
    std::ranges::sort(addresses);
    addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
    if (std::exchange(name.failing, false)) {
      events.push_back({Event::Kind::recovered, key.first, key.second, addresses.size()});
    }
    if (name.addresses != addresses) {
      name.addresses = std::move(addresses);
      events.push_back({Event::Kind::changed, key.first, key.second, name.addresses.size()});
    }
  }
  schedule(name, now);
  return events;
}

NameTable::Events NameTable::expire(TimePoint now) {
  Events events;
  for (auto& [key, name] : names_) {
    if (now < name.expires) continue;
    name.expires = kNever;
    name.tried = true;
    fail(key, name, events);
  }
  return events;
}

/// Told once, until it resolves again.
void NameTable::fail(const Key& key, Name& name, Events& events) {
  if (std::exchange(name.failing, true)) return;
  events.push_back({Event::Kind::failing, key.first, key.second, name.addresses.size()});
}

void NameTable::schedule(Name& name, TimePoint now) noexcept {
  const Nanos after = name.addresses.empty() ? std::min(name.refresh, kWithoutAny) : name.refresh;
  const double factor = 0.9 + 0.2 * rng_.uniform();
  name.due = saturating_add(now, Nanos{static_cast<std::int64_t>(static_cast<double>(after.count()) * factor)});
}

TimePoint NameTable::wakeup() const noexcept {
  TimePoint at = kNever;
  for (const auto& [key, name] : names_) at = std::min(at, name.asked ? name.expires : name.due);
  return at;
}

bool NameTable::settled() const noexcept {
  return std::ranges::all_of(names_, [](const auto& entry) { return entry.second.tried; });
}

config::Resolved NameTable::endpoints(const config::Config& config) const {
  config::Resolved all;
  for (const config::UpstreamConfig& upstream : config.upstreams) {
    Gathered gathered;
    for (const config::EndpointConfig& endpoint : upstream.endpoints) {
      const std::string written = config::to_string(endpoint.address);
      if (const auto numeric = net::parse_address(written)) {
        gathered.add(numeric->text, endpoint);
      } else if (const auto name = names_.find({upstream.name, written}); name != names_.end()) {
        for (const std::string& address : name->second.addresses) gathered.add(address, endpoint);
      }
    }
    all.push_back(std::move(gathered.endpoints));
  }
  return all;
}

}  // namespace outrigger::server
