#include "proxy/net/connection_pool.hpp"

#include <sys/resource.h>

#include <string>

#include <doctest/doctest.h>

#include "tests/unit/net/upstream_rig.hpp"

using namespace outrigger;
using namespace outrigger::net;
using namespace outrigger::test;
using namespace std::chrono_literals;
using exchange::Reuse;

namespace {

/// Nobody can open another descriptor as long as this lives.
class NoDescriptors {
 public:
  NoDescriptors() {
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &usual_) == 0);
    const rlimit none{.rlim_cur = 0, .rlim_max = usual_.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  }
  NoDescriptors(const NoDescriptors&) = delete;
  NoDescriptors& operator=(const NoDescriptors&) = delete;
  ~NoDescriptors() { ::setrlimit(RLIMIT_NOFILE, &usual_); }

 private:
  rlimit usual_{};
};

}  // namespace

TEST_SUITE("net") {
  TEST_CASE("a pool begins empty, makes connections on request, and keeps those that finished cleanly") {
    UpstreamRig rig;
    Told told;
    CHECK_FALSE(rig.take(told));
    Peer peer = rig.connect(told);
    CHECK(rig.connects(Reason::success) == 1);
    CHECK(rig.active_count() == 1);
    CHECK(rig.idle_count() == 0);
    CHECK(rig.reaches(told, peer));
    rig.answer(peer, told);
    CHECK(rig.active_count() == 0);
    CHECK(rig.idle_count() == 1);

    Told second;
    REQUIRE(rig.take(second));
    CHECK(rig.active_count() == 1);
    CHECK(rig.idle_count() == 0);
    CHECK(rig.reaches(second, peer));
    rig.answer(peer, second);
    CHECK(rig.connects(Reason::success) == 1);
  }

  TEST_CASE("the connection that was used last is used first") {
    UpstreamRig rig;
    Told first_told;
    Told second_told;
    Peer first = rig.ask(first_told);
    Peer second = rig.ask(second_told);
    rig.answer(second, second_told);
    rig.answer(first, first_told);
    CHECK(rig.idle_count() == 2);
    Told newest;
    Told older;
    REQUIRE(rig.take(newest));
    REQUIRE(rig.take(older));
    CHECK(rig.reaches(newest, first));
    CHECK(rig.reaches(older, second));
    Told none;
    CHECK_FALSE(rig.take(none));
  }

  TEST_CASE("a request that needs a fresh connection gets no idle one") {
    UpstreamRig rig;
    Peer peer = rig.idle();
    Told told;
    CHECK_FALSE(rig.take(told, Reuse::none));
    CHECK(rig.idle_count() == 1);
  }

  TEST_CASE("a request that cannot be sent twice gets a connection that idled for less than a second, no other") {
    UpstreamRig rig;
    Peer peer = rig.idle();
    rig.pass(999ms);
    Told told;
    CHECK(rig.take(told, Reuse::recent));
    CHECK(rig.reaches(told, peer));
    rig.answer(peer, told);

    rig.pass(1s);
    Told late;
    CHECK_FALSE(rig.take(late, Reuse::recent));
    CHECK(rig.idle_count() == 1);
    Told any;
    CHECK(rig.take(any, Reuse::any));
  }

  TEST_CASE("a connection that died while it idled is passed over where a second chance is costly or unlikely") {
    for (const bool old : {false, true}) {
      for (const char* stray : {"", "x"}) {
        UpstreamRig rig;
        Peer good = rig.idle();
        Told told;
        Peer bad = rig.ask(told);
        rig.answer(bad, told);
        if (old) rig.pass(2s);
        // The loop has not turned since; only looking can tell.
        bad.send(stray);
        if (*stray == '\0') bad.close();
        Told next;
        REQUIRE(rig.take(next, old ? Reuse::any : Reuse::recent));
        CHECK(rig.reaches(next, good));
        CHECK(rig.idle_count() == 0);
        CHECK(rig.active_count() == 1);
      }
    }
  }

  TEST_CASE("a connection that was used a moment ago is taken without looking, and its death is told as one of reuse") {
    UpstreamRig rig;
    Peer peer = rig.idle();
    peer.close();
    Told told;
    REQUIRE(rig.take(told));
    told.stream->start(UpstreamRig::kRequest, {}, false, false, true);
    rig.settle();
    CHECK(told.story == "sent, closed_early fully_sent reused");
    CHECK(rig.active_count() == 0);
  }

  TEST_CASE("an idle connection that the far end closes, resets, or speaks on is closed at once") {
    for (const int way : {0, 1, 2}) {
      UpstreamRig rig;
      Peer peer = rig.idle();
      if (way == 0) peer.half_close();
      if (way == 1) peer.reset();
      if (way == 2) peer.send("HTTP/1.1 200 OK\r\n\r\n");
      rig.settle();
      CHECK(rig.idle_count() == 0);
      if (way != 1) CHECK(peer.ended());
      Told told;
      CHECK_FALSE(rig.take(told));
    }
  }

  TEST_CASE("a connection idles as long as the pool allows, and not longer; each has its own time") {
    UpstreamRig rig{{.idle_timeout = 4s}};
    Told told;
    Peer young = rig.ask(told);
    Peer old = rig.idle();
    rig.pass(3s);
    rig.answer(young, told);
    rig.pass(999ms);
    CHECK(rig.idle_count() == 2);
    rig.pass(2ms);
    CHECK(rig.idle_count() == 1);
    CHECK(old.ended());
    CHECK_FALSE(young.ended());
    rig.pass(2996ms);
    CHECK(rig.idle_count() == 1);
    rig.pass(3ms);
    CHECK(rig.idle_count() == 0);
    CHECK(young.ended());
  }

  TEST_CASE("a connection that is used again idles anew") {
    UpstreamRig rig{{.idle_timeout = 4s}};
    Peer peer = rig.idle();
    for (int i = 0; i < 5; ++i) {
      rig.pass(3s);
      Told told;
      REQUIRE(rig.take(told));
      CHECK(rig.reaches(told, peer));
      rig.pass(10s);  // under way, it does not idle
      rig.answer(peer, told);
    }
    rig.pass(3999ms);
    CHECK(rig.idle_count() == 1);
    rig.pass(2ms);
    CHECK(rig.idle_count() == 0);
  }

  TEST_CASE("an idle timeout that is shortened holds for those that idle already") {
    UpstreamRig rig{{.idle_timeout = 1h}};
    Peer peer = rig.idle();
    rig.pool->configure({.idle_timeout = 4s});
    rig.pass(4001ms);
    CHECK(rig.idle_count() == 0);
  }

  TEST_CASE("a connection carries as many requests as it may, and is then closed") {
    UpstreamRig rig{{.max_requests_per_connection = 3}};
    Told first;
    Peer peer = rig.ask(first);
    rig.answer(peer, first);
    for (int i = 0; i < 2; ++i) {
      Told told;
      REQUIRE(rig.take(told));
      CHECK(rig.reaches(told, peer));
      rig.answer(peer, told);
    }
    CHECK(rig.idle_count() == 0);
    CHECK(rig.active_count() == 0);
    CHECK(peer.ended());
  }

  TEST_CASE("a retired pool closes what idles, and keeps nothing of what is under way") {
    UpstreamRig rig;
    Told told;
    Peer busy = rig.ask(told);
    Peer idle = rig.idle();
    rig.pool->retire();
    CHECK(idle.ended());
    CHECK(rig.idle_count() == 0);
    CHECK(rig.active_count() == 1);
    rig.answer(busy, told);
    CHECK(told.story == "200, end");
    CHECK(busy.ended());
    CHECK(rig.idle_count() == 0);
    CHECK(rig.active_count() == 0);
  }

  TEST_CASE("a pool that nobody holds lives on until its last connection has gone") {
    UpstreamRig rig;
    Told told;
    Ref<ConnectionPool> pool(new ConnectionPool(rig.loop, rig.door.address(), rig.row));
    Reason why{};
    told.stream = pool->connect(told, why);
    rig.settle();
    Peer peer = rig.door.accept();
    pool->retire();
    pool.reset();
    CHECK(rig.reaches(told, peer));
    rig.answer(peer, told);
    rig.settle();
    CHECK(peer.ended());
  }

  TEST_CASE("a refused connection is told, with nothing sent, and counted") {
    UpstreamRig rig;
    rig.door.close();
    Told told;
    Reason why{};
    told.stream = rig.pool->connect(told, why);
    if (told.stream == nullptr) {
      CHECK(why == Reason::connect_refused);
    } else {
      REQUIRE(rig.until([&] { return !told.story.empty(); }));
      CHECK(told.story == "connect_refused nothing_sent");
    }
    CHECK(rig.connects(Reason::connect_refused) == 1);
    CHECK(rig.active_count() == 0);
  }

  TEST_CASE("what cannot even be begun is told at once, with its reason") {
    UpstreamRig rig;
    const Ref<ConnectionPool> pool(new ConnectionPool(rig.loop, *parse_address("255.255.255.255:1"), rig.row));
    Told told;
    Reason why{};
    CHECK(pool->connect(told, why) == nullptr);
    CHECK(why == Reason::connect_error);
    CHECK(rig.connects(Reason::connect_error) == 1);
    CHECK(told.story.empty());
    CHECK(rig.active_count() == 0);
  }

  TEST_CASE("without a descriptor for it there is no connection to be had, whoever would have answered") {
    UpstreamRig rig;
    Told told;
    Reason why{};
    {
      const NoDescriptors none;
      CHECK(rig.pool->connect(told, why) == nullptr);
    }
    CHECK(why == Reason::pool_full);
    CHECK(rig.connects(Reason::pool_full) == 1);
    CHECK(rig.connects(Reason::connect_error) == 0);
    CHECK(rig.active_count() == 0);
    told.stream = rig.pool->connect(told, why);
    CHECK(told.stream != nullptr);
  }

  TEST_CASE("an attempt that is given up while it connects leaves nothing behind") {
    UpstreamRig rig;
    Told told;
    Reason why{};
    told.stream = rig.pool->connect(told, why);
    REQUIRE(told.stream != nullptr);
    CHECK(rig.active_count() == 1);
    std::exchange(told.stream, nullptr)->abort(Reason::connect_timeout);
    CHECK(rig.active_count() == 0);
    CHECK(rig.connects(Reason::connect_timeout) == 1);
    rig.settle();
    CHECK(told.story.empty());
    Peer peer = rig.door.accept();
    CHECK(peer.ended());
  }
}
