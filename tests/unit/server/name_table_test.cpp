#include "proxy/server/name_table.hpp"

#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/unit/config/loading.hpp"

using namespace outrigger;
using namespace outrigger::server;
using namespace std::chrono_literals;

namespace {

using Events = NameTable::Events;
using Kind = NameTable::Event::Kind;

constexpr TimePoint kStart{1h};
constexpr TimePoint at(Nanos after) { return kStart + after; }

config::Config with_upstreams(const std::string& upstreams) {
  const config::LoadResult result = config::load(
      "version: 1\nlisteners: [{name: in, listen: '127.0.0.1:0'}]\nupstreams: {" + upstreams + "}\nroutes: []\n");
  REQUIRE(result.ok());
  return result.config;
}

/// `api:1` of the upstream `up`, refreshed every 10 s.
const config::Config& one() {
  static const config::Config config = with_upstreams("up: {endpoints: ['api:1'], dns: {refresh: 10s, timeout: 1s}}");
  return config;
}

/// Asks about what is due; the first id.
NameTable::Id ask(NameTable& table, TimePoint now) {
  const auto questions = table.take_due(now);
  REQUIRE(questions.size() == 1);
  return questions[0].id;
}

/// The endpoints of an upstream as "address weight".
std::vector<std::string> endpoints(const NameTable& table, const config::Config& config, std::size_t upstream = 0) {
  std::vector<std::string> out;
  const config::Resolved all = table.endpoints(config);
  for (const config::ResolvedEndpoint& each : all[upstream]) {
    out.push_back(each.address + " " + std::to_string(each.weight));
  }
  return out;
}

}  // namespace

TEST_SUITE("server") {
  TEST_CASE("only names are asked about, numeric addresses stand for themselves") {
    const config::Config config =
        with_upstreams("up: {endpoints: ['127.0.0.1:1', '[::1]:2']}, named: {endpoints: ['api:3']}");
    NameTable table(1);
    table.add(config, kStart);
    CHECK_FALSE(table.settled());
    const auto questions = table.take_due(kStart);
    REQUIRE(questions.size() == 1);
    CHECK(questions[0].address == config::HostPort{"api", 3});
    CHECK(endpoints(table, config) == std::vector<std::string>{"127.0.0.1:1 1", "[::1]:2 1"});
    CHECK(endpoints(table, config, 1).empty());
  }

  TEST_CASE("a name means every address it resolves to, in order, whatever the order of the answer") {
    NameTable table(1);
    table.add(one(), kStart);
    const Events events = table.answer(ask(table, kStart), {"10.0.0.2:1", "10.0.0.1:1", "10.0.0.2:1"}, kStart);
    CHECK(events == Events{{Kind::changed, "up", "api:1", 2}});
    CHECK(table.settled());
    CHECK(endpoints(table, one()) == std::vector<std::string>{"10.0.0.1:1 1", "10.0.0.2:1 1"});
    CHECK(table.endpoints(one())[0][0].host == "api");
    const auto again = ask(table, at(12s));
    CHECK(table.answer(again, {"10.0.0.1:1", "10.0.0.2:1"}, at(12s)).empty());
    CHECK(table.answer(ask(table, at(24s)), {"10.0.0.1:1"}, at(24s)) == Events{{Kind::changed, "up", "api:1", 1}});
  }

  TEST_CASE("a failure keeps the last addresses, and is told once until the name resolves again") {
    NameTable table(1);
    table.add(one(), kStart);
    table.answer(ask(table, kStart), {"10.0.0.1:1"}, kStart);
    CHECK(table.answer(ask(table, at(12s)), {}, at(12s)) == Events{{Kind::failing, "up", "api:1", 1}});
    CHECK(table.answer(ask(table, at(24s)), {}, at(24s)).empty());
    CHECK(endpoints(table, one()) == std::vector<std::string>{"10.0.0.1:1 1"});
    CHECK(table.answer(ask(table, at(36s)), {"10.0.0.1:1"}, at(36s)) == Events{{Kind::recovered, "up", "api:1", 1}});
    CHECK(table.answer(ask(table, at(48s)), {}, at(48s)).size() == 1);
  }

  TEST_CASE("refreshes are a tenth of the time around it, so that a fleet does not ask at once") {
    Nanos earliest = kForever;
    Nanos latest{0};
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
      NameTable table(seed);
      table.add(one(), kStart);
      table.answer(ask(table, kStart), {"10.0.0.1:1"}, kStart);
      const Nanos due = table.wakeup() - kStart;
      earliest = std::min(earliest, due);
      latest = std::max(latest, due);
      CHECK(table.take_due(table.wakeup() - 1ns).empty());
      CHECK(table.take_due(table.wakeup()).size() == 1);
    }
    CHECK(earliest >= 9s);
    CHECK(earliest < 9100ms);
    CHECK(latest <= 11s);
    CHECK(latest > 10900ms);
  }

  TEST_CASE("a name without any address is asked about every second, or every refresh where that is shorter") {
    NameTable table(1);
    table.add(one(), kStart);
    table.answer(ask(table, kStart), {}, kStart);
    CHECK(table.wakeup() - kStart >= 900ms);
    CHECK(table.wakeup() - kStart <= 1100ms);
  }

  TEST_CASE("a question whose time is over counts as failed, no second one is asked, and its late answer counts") {
    NameTable table(1);
    table.add(one(), kStart);
    const auto id = ask(table, kStart);
    CHECK(table.wakeup() == at(1s));
    CHECK(table.expire(at(999ms)).empty());
    CHECK_FALSE(table.settled());
    CHECK(table.expire(at(1s)) == Events{{Kind::failing, "up", "api:1", 0}});
    CHECK(table.settled());
    CHECK(table.expire(at(2s)).empty());
    CHECK(table.wakeup() == kNever);
    CHECK(table.take_due(at(1h)).empty());
    CHECK(table.answer(id, {"10.0.0.1:1"}, at(1h)) ==
          Events{{Kind::recovered, "up", "api:1", 1}, {Kind::changed, "up", "api:1", 1}});
    CHECK(table.take_due(at(2h)).size() == 1);
  }

  TEST_CASE("what a configuration brings is added to what there is; what none has is forgotten, and so is its answer") {
    const config::Config both =
        with_upstreams("up: {endpoints: ['api:1'], dns: {refresh: 1m}}, new: {endpoints: ['b:1']}");
    NameTable table(1);
    table.add(one(), kStart);
    table.answer(ask(table, kStart), {"10.0.0.1:1"}, kStart);
    table.add(both, at(1s));
    CHECK_FALSE(table.settled());
    CHECK(endpoints(table, both) == std::vector<std::string>{"10.0.0.1:1 1"});
    const auto id = ask(table, at(1s));
    table.keep_only(one());
    CHECK(table.settled());
    CHECK(table.answer(id, {"10.0.0.9:1"}, at(2s)).empty());
    CHECK(endpoints(table, both, 1).empty());
  }

  TEST_CASE("the same name in two upstreams is two names") {
    const config::Config two = with_upstreams("a: {endpoints: ['api:1']}, b: {endpoints: ['api:1']}");
    NameTable table(1);
    table.add(two, kStart);
    CHECK(table.take_due(kStart).size() == 2);
  }

  TEST_CASE("all names can be asked about at once, but for those that are being asked about") {
    NameTable table(1);
    table.add(one(), kStart);
    table.answer(ask(table, kStart), {"10.0.0.1:1"}, kStart);
    CHECK(table.take_due(at(1s)).empty());
    table.hurry(at(1s));
    const auto id = ask(table, at(1s));
    table.hurry(at(1s));
    CHECK(table.take_due(at(1s)).empty());
    table.answer(id, {"10.0.0.1:1"}, at(1s));
    CHECK(table.take_due(at(2s)).empty());
  }

  TEST_CASE("an address that an upstream has several times is one endpoint with all its weight") {
    const config::Config config = with_upstreams(
        "up: {endpoints: ['127.0.0.1:1', {address: 'a:1', weight: 3}, {address: 'b:1', weight: 5}, '127.0.0.1:1']}");
    NameTable table(1);
    table.add(config, kStart);
    for (const auto& question : table.take_due(kStart))
      table.answer(question.id, {"127.0.0.1:1", "127.0.0.2:1"}, kStart);
    CHECK(endpoints(table, config) == std::vector<std::string>{"127.0.0.1:1 10", "127.0.0.2:1 8"});
  }

  TEST_CASE("an upstream has at most 10000 endpoints, however many addresses its names have") {
    NameTable table(1);
    table.add(one(), kStart);
    NameTable::Addresses many;
    for (int i = 0; i < 10'001; ++i)
      many.push_back("10." + std::to_string(i / 250) + ".0." + std::to_string(i % 250) + ":1");
    table.answer(ask(table, kStart), many, kStart);
    CHECK(endpoints(table, one()).size() == 10'000);
  }
}
