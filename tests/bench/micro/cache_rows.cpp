// What a cache costs a request that it answers, and one that it does not.
#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "proxy/policy/cache.hpp"
#include "tests/bench/micro/bench.hpp"
#include "tests/bench/micro/samples.hpp"

namespace outrigger::bench {
namespace {

using namespace outrigger::policy;
using namespace std::chrono_literals;

constexpr std::string_view kKey = "http://payments.internal:9001/v1/charges/42?expand=customer";
constexpr std::array kFields = {Field{"Host", "payments.internal:9001"},
                                Field{"User-Agent", "checkout/1.2"},
                                Field{"Accept", "application/json"},
                                Field{"Accept-Encoding", "gzip"},
                                Field{"X-Request-Id", "018f3c1e-7b1a-7c3e-9d2a-0123456789ab"},
                                Field{"Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}};

/// Time stands still: what is stored stays good.
struct Caching {
  Caching() {
    config.statuses.insert(200, 200);
    for (std::size_t i = 0; i < keys.size(); ++i) keys[i] = std::string{kKey} + std::to_string(i);
  }

  CacheAnswer ask(std::string_view key) { return cache.lookup(config, {"GET", key, kFields, {}}, nullptr, now); }
  void store(std::string_view key, std::span<const std::string_view> vary = {}) {
    CacheAnswer answer = ask(key);
    static_cast<void>(answer.fill.begin(config, {200, kFields, vary, {.storable = true}, 1024}, now));
    answer.fill.append(config, body, now);
    answer.fill.finish(config, true, now);
  }
  void store_all(std::span<const std::string_view> vary = {}) {
    for (const std::string& key : keys) store(key, vary);
  }
  const std::string& key_of(Turn turn) const {
    return keys[static_cast<std::size_t>(turn.number * 7 + turn.worker) % keys.size()];
  }

  NobodyWaits wakeups;
  EnoughMemory memory;
  CacheConfig config;
  Cache cache{wakeups, memory, 1};
  TimePoint now{1h};
  std::array<std::string, 64> keys;
  const std::string body = std::string(1024, 'x');
};

}  // namespace

void add_cache_rows(Bench& bench) {
  const auto plain = std::make_shared<Caching>();
  plain->store(kKey);
  bench.row("cache, hit, always the same key", [plain](Turn) { keep(plain->ask(kKey)); });
  const auto several = std::make_shared<Caching>();
  several->store_all();
  bench.row("cache, hit, 64 keys in turn", [several](Turn turn) { keep(several->ask(several->key_of(turn))); });
  const auto varying = std::make_shared<Caching>();
  constexpr std::array<std::string_view, 2> kVary = {"Accept", "Accept-Encoding"};
  varying->store_all(kVary);
  bench.row("cache, hit, 2 fields in Vary, 64 keys in turn",
            [varying](Turn turn) { keep(varying->ask(varying->key_of(turn))); });
  const auto missing = std::make_shared<Caching>();
  bench.row("cache, miss that is not stored", [missing](Turn turn) { keep(missing->ask(missing->key_of(turn))); });
  bench.allocates(7, "what asks the upstream keeps a copy of its request, to choose the answer's variant by");
  const auto storing = std::make_shared<Caching>();
  storing->config.ttl = Nanos{0};
  storing->config.stale_if_error = 1s;
  bench.row("cache, miss and 1 KiB stored", [storing](Turn turn) { storing->store(storing->key_of(turn)); });
  bench.allocates(9, "and the answer itself");
  bench.row("cache, bypass", [plain](Turn) {
    keep(plain->cache.lookup(plain->config, {"POST", kKey, kFields, {}}, nullptr, plain->now));
  });
}

}  // namespace outrigger::bench
