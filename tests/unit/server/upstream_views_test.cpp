#include "proxy/server/upstream_views.hpp"

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include <doctest/doctest.h>

#include "proxy/config/load.hpp"

using namespace outrigger;
using namespace outrigger::server;
using namespace std::chrono_literals;
using nlohmann::ordered_json;

namespace {

constexpr TimePoint kNow{1h};

struct Process {
  std::shared_ptr<const config::Snapshot> load(const std::string& upstream) {
    const config::LoadResult loaded = config::load_text(
        "version: 1\nlisteners: [{name: in, listen: '127.0.0.1:0'}]\nupstreams:\n"
        "  up: {endpoints: ['127.0.0.1:1', '127.0.0.1:2', '127.0.0.1:3']" +
            upstream + "}\nroutes: [{upstream: up}]\n",
        "t.yaml");
    REQUIRE(loaded.ok());
    auto built = config::build_snapshot(
        loaded.config, "me", 1, {{{.address = "127.0.0.1:1"}, {.address = "127.0.0.1:2"}, {.address = "127.0.0.1:3"}}},
        registry);
    return std::get<std::shared_ptr<const config::Snapshot>>(built);
  }
  static policy::EndpointState& state(const config::Snapshot& snapshot, std::size_t endpoint) {
    return *snapshot.endpoint_sets[0].endpoints[endpoint].state;
  }
  static void eject(policy::EndpointState& state, Nanos left) {
    state.ejected_until_ns = (kNow + left).time_since_epoch().count();
  }
  static std::vector<std::uint64_t> counts(const config::Snapshot& snapshot) {
    std::vector<std::uint64_t> counts;
    for (const telemetry::EndpointLevels& level : endpoint_levels(snapshot, kNow)) counts.push_back(level.count);
    return counts;
  }

  config::StateRegistry registry{1};
};

}  // namespace

TEST_SUITE("server") {
  TEST_CASE("an upstream is shown with its endpoints, who is out of service and for how long") {
    Process process;
    const auto snapshot = process.load(", max_connections: 7, max_pending: 2, outlier_detection: {}");
    Process::eject(Process::state(*snapshot, 1), 1500ms);
    Process::state(*snapshot, 2).healthy = false;
    const policy::EndpointPermit permit = Process::state(*snapshot, 0).try_enter(7);
    const ordered_json up = view_upstreams(*snapshot, kNow)[0];
    CHECK(up["name"] == "up");
    CHECK(up["max_connections"] == 7);
    CHECK(up["max_pending"] == 2);
    CHECK(up["pending"] == 0);
    CHECK(up["panic"] == false);
    CHECK(up["ejections"] == 0);
    CHECK(up["endpoints"][0]["state"] == "healthy");
    CHECK(up["endpoints"][0]["in_flight"] == 1);
    CHECK_FALSE(up["endpoints"][0].contains("ejected_for_ms"));
    CHECK(up["endpoints"][1]["state"] == "ejected");
    CHECK(up["endpoints"][1]["ejected_for_ms"] == 1500.0);
    CHECK(up["endpoints"][2]["state"] == "unhealthy");
    CHECK(Process::counts(*snapshot) == std::vector<std::uint64_t>{1, 1, 1});
  }

  TEST_CASE("an upstream panics while it has no usable endpoint, unless it must not") {
    for (const bool panic : {true, false}) {
      Process process;
      const auto snapshot = process.load(panic ? "" : ", panic: false");
      CHECK_FALSE(upstream_levels(*snapshot, kNow)[0].panic);
      for (std::size_t i = 0; i < 3; ++i) Process::state(*snapshot, i).healthy = false;
      CHECK(upstream_levels(*snapshot, kNow)[0].panic == panic);
      CHECK(view_upstreams(*snapshot, kNow)[0]["panic"] == panic);
    }
  }

  TEST_CASE("ejections are counted where failures can eject, and only there") {
    Process process;
    CHECK(upstream_levels(*process.load(""), kNow)[0].ejections == std::nullopt);
    const auto snapshot = process.load(", outlier_detection: {consecutive_failures: 1}");
    CHECK(upstream_levels(*snapshot, kNow)[0].ejections == 0u);
    CHECK(endpoints_come_and_go(*snapshot));
    const exchange::Upstream& up = snapshot->upstreams[0];
    Rng rng{1};
    CHECK(up.ejections->on_result(*up.outlier, *up.endpoints, policy::EndpointId{0}, policy::OutlierResult::failure,
                                  kNow, rng));
    CHECK(upstream_levels(*snapshot, kNow)[0].ejections == 1u);
  }

  TEST_CASE("an ejection outlives a reload, and ends with one that ejects nobody any more") {
    Process process;
    const auto first = process.load(", outlier_detection: {}");
    Process::eject(Process::state(*first, 0), 1h);
    const auto second = process.load(", outlier_detection: {consecutive_failures: 9}");
    config::take_effect(*second, kNow);
    CHECK(Process::counts(*second) == std::vector<std::uint64_t>{2, 0, 1});
    const auto third = process.load("");
    config::take_effect(*third, kNow);
    CHECK(Process::counts(*third) == std::vector<std::uint64_t>{3, 0, 0});
  }
}
