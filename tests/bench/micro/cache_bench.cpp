#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "proxy/base/cache_line.hpp"
#include "proxy/policy/cache.hpp"
#include "tests/bench/micro/bench.hpp"

namespace {

using namespace outrigger;
using namespace outrigger::bench;
using namespace outrigger::policy;
using namespace std::chrono_literals;

struct NobodyWaits final : Wakeups {
  void wake(const Ticket&) noexcept override {}
};
struct EnoughMemory final : CacheMemory {
  bool take(std::uint64_t) noexcept override { return true; }
  void give_back(std::uint64_t) noexcept override {}
};

constexpr std::string_view kKey = "http://payments.internal:9001/v1/charges/42?expand=customer";
constexpr std::array kFields = {Field{"Host", "payments.internal:9001"},
                                Field{"User-Agent", "checkout/1.2"},
                                Field{"Accept", "application/json"},
                                Field{"Accept-Encoding", "gzip"},
                                Field{"X-Request-Id", "018f3c1e-7b1a-7c3e-9d2a-0123456789ab"},
                                Field{"Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}};

struct Rig {
  Rig() { config.statuses.insert(200, 200); }

  CacheAnswer ask(std::string_view key) { return cache.lookup(config, {"GET", key, kFields, {}}, nullptr, now); }
  void store(std::string_view key, std::span<const std::string_view> vary = {}) {
    CacheAnswer answer = ask(key);
    static_cast<void>(answer.fill.begin(config, {200, kFields, vary, {.storable = true}, 1024}, now));
    answer.fill.append(config, body, now);
    answer.fill.finish(config, true, now);
  }

  NobodyWaits wakeups;
  EnoughMemory memory;
  CacheConfig config;
  Cache cache{wakeups, memory, 1};
  TimePoint now{1h};
  const std::string body = std::string(1024, 'x');
};

void caches(const Bench& bench) {
  Rig plain;
  plain.store(kKey);
  bench.shared("cache, hit, one key", [&](std::uint32_t) { keep(plain.ask(kKey)); });

  Rig several;
  std::array<std::string, 64> keys;
  for (std::size_t i = 0; i < keys.size(); ++i) several.store(keys[i] = std::string{kKey} + std::to_string(i));
  std::array<Padded<std::size_t>, 2> turns{};
  bench.shared("cache, hit, 64 keys in turn",
               [&](std::uint32_t worker) { keep(several.ask(keys[(turns[worker].value += 7) % keys.size()])); });

  Rig varying;
  const std::array<std::string_view, 2> vary = {"Accept", "Accept-Encoding"};
  varying.store(kKey, vary);
  bench.shared("cache, hit, two fields in Vary", [&](std::uint32_t) { keep(varying.ask(kKey)); });

  Rig missing;
  bench.shared("cache, miss that is not stored", [&](std::uint32_t) { keep(missing.ask(kKey)); });

  Rig storing;
  storing.config.ttl = Nanos{0};
  storing.config.stale_if_error = 1s;
  bench("cache, miss and 1 KiB stored", [&] { storing.store(kKey); });
  bench("cache, bypass", [&] {
    keep(plain.cache.lookup(plain.config, {"POST", kKey, kFields, {}}, nullptr, plain.now));
  });
}

const BenchGroup group{caches};

}  // namespace
