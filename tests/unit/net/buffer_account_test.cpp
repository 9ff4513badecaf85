#include "proxy/net/buffer_account.hpp"

#include <doctest/doctest.h>

using namespace outrigger::net;

TEST_SUITE("net") {
  TEST_CASE("an account admits what fits to the byte, whatever kind it is, and nothing more") {
    BufferAccount account{100};
    CHECK(account.charge(BufferKind::replay, 60));
    CHECK(account.room());
    CHECK_FALSE(account.charge(BufferKind::held, 41));
    CHECK(account.used(BufferKind::held) == 0);
    CHECK(account.charge(BufferKind::held, 40));
    CHECK_FALSE(account.room());
    CHECK_FALSE(account.charge(BufferKind::replay, 1));
    CHECK(account.charge(BufferKind::replay, 0));
    account.add(BufferKind::replay, -1);
    CHECK(account.room());
    CHECK(account.charge(BufferKind::held, 1));
    CHECK(account.used(BufferKind::replay) == 59);
    CHECK(account.used(BufferKind::held) == 41);
  }

  TEST_CASE("caches leave a reserve to requests under way, and what reaches into it is asked back") {
    BufferAccount account{800};
    CHECK(account.charge(BufferKind::cache, 700));
    CHECK_FALSE(account.charge(BufferKind::cache, 1));
    CHECK(account.excess() == 0);
    CHECK(account.charge(BufferKind::replay, 100));
    CHECK(account.excess() == 100);
    account.add(BufferKind::cache, -100);
    CHECK(account.excess() == 0);
  }

  TEST_CASE("what must be kept is counted beyond the limit, and then nothing else is admitted") {
    BufferAccount account{100};
    account.add(BufferKind::held, 150);
    CHECK_FALSE(account.room());
    CHECK_FALSE(account.charge(BufferKind::replay, 1));
    CHECK_FALSE(account.charge(BufferKind::replay, 0));
    account.add(BufferKind::held, -50);
    CHECK_FALSE(account.room());
    account.add(BufferKind::held, -1);
    CHECK(account.charge(BufferKind::replay, 1));
  }

  TEST_CASE("a limit that changes holds from then on, for what is already charged, too") {
    BufferAccount account{100};
    CHECK(account.charge(BufferKind::replay, 80));
    account.set_limit(50);
    CHECK_FALSE(account.room());
    CHECK_FALSE(account.charge(BufferKind::replay, 1));
    account.set_limit(81);
    CHECK(account.charge(BufferKind::replay, 1));
    account.set_limit(0);
    CHECK_FALSE(account.room());
  }

  TEST_CASE("an owner's charge follows its size, and is given back when the owner goes") {
    BufferAccount account{100};
    {
      BufferCharge charge{account, BufferKind::replay};
      CHECK(charge.try_set(100));
      CHECK(account.used(BufferKind::replay) == 100);
      // Only what is added must fit.
      CHECK(charge.try_set(100));
      CHECK_FALSE(charge.try_set(101));
      CHECK(account.used(BufferKind::replay) == 100);
      CHECK(charge.try_set(30));
      CHECK(account.used(BufferKind::replay) == 30);
      charge.set(150);
      CHECK(account.used(BufferKind::replay) == 150);
      CHECK(charge.try_set(120));
      CHECK(account.used(BufferKind::replay) == 120);
    }
    CHECK(account.used(BufferKind::replay) == 0);
  }

  TEST_CASE("two owners share one limit") {
    BufferAccount account{100};
    BufferCharge first{account, BufferKind::replay};
    BufferCharge second{account, BufferKind::held};
    CHECK(first.try_set(60));
    CHECK_FALSE(second.try_set(50));
    first.set(0);
    CHECK(second.try_set(50));
  }
}
