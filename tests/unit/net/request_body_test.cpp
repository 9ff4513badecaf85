#include "proxy/net/request_body.hpp"

#include <string>

#include <doctest/doctest.h>

using namespace outrigger::net;

namespace {

/// A body of a request that may be sent again, up to `limit` bytes.
struct Kept {
  explicit Kept(std::uint64_t limit, std::uint64_t memory = 1'000'000) : account(memory), body(account) {
    body.begin(limit, true);
  }
  std::int64_t charged() const { return account.used(BufferKind::replay); }
  /// One attempt takes what it has not got yet, or what there is from the first byte.
  std::string taken() {
    std::string text(body.from(at));
    at = body.size();
    body.forget_before(at);
    return text;
  }
  std::string anew() {
    at = body.size() - body.held();
    return std::string(body.from(at));
  }

  BufferAccount account;
  RequestBody body;
  std::uint64_t at = 0;
};

}  // namespace

TEST_SUITE("net") {
  TEST_CASE("a body is kept for another attempt up to the replay limit, and no longer one byte past it") {
    for (const std::size_t size : {9u, 10u, 11u}) {
      Kept kept{10};
      kept.body.keep(std::string(size, 'x'));
      CHECK(kept.body.replayable() == (size <= 10));
      CHECK(kept.taken() == std::string(size, 'x'));
      CHECK(kept.body.holds(0) == (size <= 10));
      CHECK(kept.anew() == std::string(size <= 10 ? size : 0, 'x'));
    }
  }

  TEST_CASE("a body that comes in pieces meets the same limit, and the room shrinks with each") {
    Kept kept{10};
    CHECK(kept.body.replay_room() == 10);
    kept.body.keep("01234");
    CHECK(kept.body.replay_room() == 5);
    CHECK(kept.taken() == "01234");
    kept.body.keep("56789");
    CHECK(kept.body.replay_room() == 0);
    CHECK(kept.body.replayable());
    kept.body.keep("");
    CHECK(kept.body.replayable());
    CHECK(kept.taken() == "56789");
    CHECK(kept.anew() == "0123456789");

    CHECK(kept.taken() == "0123456789");
    kept.body.keep("x");
    CHECK_FALSE(kept.body.replayable());
    CHECK(kept.body.replay_room() == 0);
    CHECK(kept.taken() == "x");
    CHECK(kept.body.held() == 0);
  }

  TEST_CASE("bytes that no attempt has taken survive the end of replay") {
    Kept kept{10};
    kept.body.keep("01234");
    CHECK(kept.taken() == "01234");
    kept.body.keep("56789");
    kept.body.keep("abc");
    CHECK_FALSE(kept.body.replayable());
    CHECK(kept.body.from(kept.at) == "56789abc");
    // An attempt that begins before anything of it was sent gets all of it still.
    CHECK(kept.anew() == "0123456789abc");
    CHECK(kept.taken() == "0123456789abc");
    CHECK(kept.charged() == 0);
  }

  TEST_CASE("a body that cannot be sent again is held only until it is taken") {
    Kept kept{10};
    kept.body.keep("01234");
    kept.body.drop_replay();
    CHECK(kept.charged() == 5);
    CHECK(kept.taken() == "01234");
    CHECK(kept.charged() == 0);
    kept.body.keep("56");
    CHECK(kept.charged() == 2);
    CHECK(kept.anew() == "56");
    CHECK(kept.taken() == "56");
    CHECK(kept.charged() == 0);
  }

  TEST_CASE("without a replay limit nothing is kept for later, however little it is") {
    Kept kept{0};
    CHECK(kept.body.replayable());
    kept.body.keep("x");
    CHECK_FALSE(kept.body.replayable());
    CHECK(kept.taken() == "x");
    CHECK(kept.charged() == 0);
  }

  TEST_CASE("a full account ends replay, loses nothing, and is charged for what has to be kept all the same") {
    Kept kept{100, 8};
    kept.body.keep("01234");
    CHECK(kept.charged() == 5);
    kept.body.keep("567");
    CHECK(kept.body.replayable());
    CHECK(kept.charged() == 8);
    kept.body.keep("8");
    CHECK_FALSE(kept.body.replayable());
    CHECK(kept.charged() == 9);
    CHECK(kept.taken() == "012345678");
    CHECK(kept.charged() == 0);
  }

  TEST_CASE("the charge is given back when the request ends, and when the body itself goes") {
    BufferAccount account{1000};
    {
      RequestBody body{account};
      body.begin(100, true);
      body.keep("01234");
      body.end();
      CHECK(account.used(BufferKind::replay) == 0);
      CHECK_FALSE(body.replayable());
      CHECK(body.held() == 0);
      CHECK(body.size() == 0);
      body.begin(100, true);
      body.keep("01234");
      CHECK(account.used(BufferKind::replay) == 5);
    }
    CHECK(account.used(BufferKind::replay) == 0);
  }

  TEST_CASE("a request inherits nothing from the one before it") {
    Kept kept{10};
    kept.body.keep("0123456789");
    kept.body.set_complete();
    CHECK(kept.taken() == "0123456789");
    kept.body.end();
    kept.body.begin(5, true);
    kept.at = 0;
    CHECK_FALSE(kept.body.complete());
    CHECK(kept.body.replay_room() == 5);
    CHECK(kept.body.size() == 0);
    kept.body.keep("abc");
    CHECK(kept.taken() == "abc");
  }

  TEST_CASE("each attempt has a position of its own, and what lies behind a gap is nobody's") {
    Kept kept{10};
    kept.body.keep("01234");
    CHECK(kept.taken() == "01234");
    kept.body.keep("567");
    CHECK(kept.body.from(0) == "01234567");
    CHECK(kept.body.from(5) == "567");
    kept.body.drop_replay();
    kept.body.forget_before(7);
    CHECK(kept.body.holds(7));
    CHECK_FALSE(kept.body.holds(6));
    CHECK(kept.body.from(7) == "7");
    kept.body.forget_before(5);
    CHECK(kept.body.from(7) == "7");
    kept.body.forget_before(8);
    kept.body.pass(100);
    CHECK(kept.body.size() == 108);
    CHECK(kept.body.holds(108));
    CHECK_FALSE(kept.body.holds(107));
  }
}
