#include "proxy/server/names.hpp"

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <boost/asio/executor_work_guard.hpp>
#include <doctest/doctest.h>

#include "tests/unit/config/loading.hpp"

using namespace outrigger;
using namespace outrigger::server;
using namespace std::chrono_literals;

namespace {

/// A resolver that says what the test wants, and may hang until the test lets go.
class Fake : public std::enable_shared_from_this<Fake> {
 public:
  /// A thread that hangs in it keeps it.
  Resolver::Lookup lookup() {
    return [self = shared_from_this()](const config::HostPort& address) {
      std::unique_lock lock(self->mutex_);
      ++self->asked_;
      self->told_.notify_all();
      self->told_.wait(lock, [&] { return !self->hangs_; });
      return self->addresses_[address.host];
    };
  }
  void set(const std::string& host, Resolver::Addresses addresses) {
    const std::lock_guard lock(mutex_);
    addresses_[host] = std::move(addresses);
  }
  void hang(bool hangs) {
    const std::lock_guard lock(mutex_);
    hangs_ = hangs;
    told_.notify_all();
  }
  /// Waits until so many questions have arrived in all.
  void wait_asked(int count) {
    std::unique_lock lock(mutex_);
    told_.wait(lock, [&] { return asked_ >= count; });
  }
  int asked() {
    const std::lock_guard lock(mutex_);
    return asked_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable told_;
  std::map<std::string, Resolver::Addresses> addresses_;
  bool hangs_ = false;
  int asked_ = 0;
};

config::Config upstreams(const std::string& text) {
  const config::LoadResult result = config::load(
      "version: 1\nlisteners: [{name: in, listen: '127.0.0.1:0'}]\nupstreams: {" + text + "}\nroutes: []\n");
  REQUIRE(result.ok());
  return result.config;
}

struct Rig {
  Rig() : log({}, 1, [] { return std::int64_t{0}; }), names(io, fake->lookup(), log.control(), [this] { ++changes; }) {}
  ~Rig() { fake->hang(false); }

  /// Turns the loop until that holds.
  template <class Condition>
  void until(Condition condition) {
    const auto work = net::asio::make_work_guard(io);
    while (!condition()) io.run_one();
  }
  std::vector<std::string> addresses(const config::Config& config) {
    std::vector<std::string> out;
    const config::Resolved all = names.endpoints(config);
    for (const config::ResolvedEndpoint& each : all[0]) out.push_back(each.address);
    return out;
  }

  net::IoContext io;
  telemetry::Log log;
  std::shared_ptr<Fake> fake = std::make_shared<Fake>();
  int changes = 0;
  Names names;
};

}  // namespace

TEST_SUITE("server") {
  TEST_CASE("at the start names are waited for, and all of their addresses are there") {
    Rig rig;
    const config::Config config = upstreams("up: {endpoints: ['api:1']}");
    rig.fake->set("api", {"10.0.0.2:1", "10.0.0.1:1"});
    rig.names.learn_now(config);
    CHECK(rig.addresses(config) == std::vector<std::string>{"10.0.0.1:1", "10.0.0.2:1"});
    CHECK(rig.changes == 0);
  }

  TEST_CASE("a resolver that hangs at the start is waited for no longer than it has, and its answer still counts") {
    Rig rig;
    const config::Config config = upstreams("up: {endpoints: ['api:1'], dns: {timeout: 10ms}}");
    rig.fake->set("api", {"10.0.0.1:1"});
    rig.fake->hang(true);
    rig.names.learn_now(config);
    CHECK(rig.addresses(config).empty());
    rig.fake->hang(false);
    rig.until([&] { return rig.changes == 1; });
    CHECK(rig.addresses(config) == std::vector<std::string>{"10.0.0.1:1"});
  }

  TEST_CASE("the loop goes on while the resolver hangs") {
    Rig rig;
    rig.fake->hang(true);
    bool done = false;
    rig.names.learn(upstreams("up: {endpoints: ['api:1'], dns: {timeout: 1m}}"), [&] { done = true; });
    rig.fake->wait_asked(1);
    bool turned = false;
    net::asio::post(rig.io, [&] { turned = true; });
    rig.until([&] { return turned; });
    CHECK_FALSE(done);
    rig.fake->hang(false);
    rig.until([&] { return done; });
  }

  TEST_CASE("who learns a configuration without a new name is told at once") {
    Rig rig;
    bool done = false;
    rig.names.learn(upstreams("up: {endpoints: ['127.0.0.1:1']}"), [&] { done = true; });
    CHECK(done);
    CHECK(rig.fake->asked() == 0);
  }

  TEST_CASE("a refresh that finds other addresses is told once, one that finds the same is not") {
    Rig rig;
    const config::Config config = upstreams("up: {endpoints: ['api:1']}");
    rig.fake->set("api", {"10.0.0.1:1"});
    rig.names.learn_now(config);
    rig.fake->set("api", {"10.0.0.2:1"});
    rig.names.refresh();
    rig.until([&] { return rig.changes == 1; });
    CHECK(rig.addresses(config) == std::vector<std::string>{"10.0.0.2:1"});
    rig.names.refresh();
    rig.fake->wait_asked(3);
    bool done = false;
    rig.names.learn(upstreams("other: {endpoints: ['x:1']}"), [&] { done = true; });
    rig.until([&] { return done; });
    CHECK(rig.changes == 1);
  }

  TEST_CASE("more names than there are threads are all answered") {
    Rig rig;
    std::string text = "up: {endpoints: [";
    for (unsigned i = 0; i < 3 * Resolver::kThreads; ++i) {
      const std::string host = "n" + std::to_string(i);
      text += (i == 0 ? "'" : ", '") + host + ":1'";
      rig.fake->set(host, {"10.0.0." + std::to_string(i) + ":1"});
    }
    const config::Config config = upstreams(text + "]}");
    rig.fake->hang(true);
    bool done = false;
    rig.names.learn(config, [&] { done = true; });
    rig.fake->wait_asked(Resolver::kThreads);
    rig.fake->hang(false);
    rig.until([&] { return done; });
    CHECK(rig.addresses(config).size() == 3 * Resolver::kThreads);
  }

  TEST_CASE("a resolver that hangs does not hold up the end") {
    const auto fake = std::make_shared<Fake>();
    fake->hang(true);
    {
      net::IoContext io;
      telemetry::Log log({}, 1, [] { return std::int64_t{0}; });
      Names names(io, fake->lookup(), log.control(), [] {});
      names.learn(upstreams("up: {endpoints: ['api:1']}"), [] {});
      fake->wait_asked(1);
    }
    fake->hang(false);
  }
}
