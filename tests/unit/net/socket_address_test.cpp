#include "proxy/net/socket_address.hpp"

#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace outrigger::net;

namespace {

struct Descriptors : std::vector<int> {
  explicit Descriptors(std::vector<int> all) : vector(std::move(all)) {}
  Descriptors(const Descriptors&) = delete;
  Descriptors& operator=(const Descriptors&) = delete;
  ~Descriptors() {
    for (const int fd : *this) ::close(fd);
  }
};

}  // namespace

TEST_SUITE("net") {
  TEST_CASE("an address is read and written in its one form") {
    for (const char* text : {"127.0.0.1:80", "0.0.0.0:0", "255.255.255.255:65535", "[::1]:443", "[2001:db8::1]:1"}) {
      const auto address = parse_address(text);
      REQUIRE(address);
      CHECK(address->text == text);
      CHECK(parse_address(address->text)->text == text);
    }
    CHECK(parse_address("[0:0:0:0:0:0:0:1]:443")->text == "[::1]:443");
    CHECK(host_of(parse_address("192.0.2.7:80")->storage) == "192.0.2.7");
    CHECK(host_of(parse_address("[2001:db8::1]:1")->storage) == "2001:db8::1");
  }

  TEST_CASE("what is not a numeric address with a port is refused") {
    for (const char* text : {"",
                             ":",
                             "127.0.0.1",
                             "127.0.0.1:",
                             ":80",
                             "localhost:80",
                             "127.0.0.1:x",
                             "127.0.0.1:65536",
                             "127.0.0.1:-1",
                             "127.0.0.1: 80",
                             "127.0.0.1:80 ",
                             "127.0.0.1:8 0",
                             "127.1:80",
                             "127.0.0.256:80",
                             "::1:80",
                             "[::1]",
                             "[::1]80",
                             "[]:80",
                             "[::1:80",
                             "::1]:80",
                             "[127.0.0.1]:80",
                             "[::g]:80"}) {
      CAPTURE(text);
      CHECK_FALSE(parse_address(text));
    }
  }

  TEST_CASE("loopback is the whole of 127/8, and ::1") {
    for (const char* text : {"127.0.0.1:1", "127.255.1.2:1", "[::1]:1"}) CHECK(parse_address(text)->is_loopback());
    for (const char* text : {"0.0.0.0:1", "128.0.0.1:1", "10.0.0.1:1", "[::]:1", "[::2]:1"}) {
      CHECK_FALSE(parse_address(text)->is_loopback());
    }
  }

  TEST_CASE("localhost resolves, to loopback alone and to no address twice; a number resolves to itself") {
    const auto found = resolve("localhost", 80);
    REQUIRE_FALSE(found.empty());
    std::vector<std::string> texts;
    for (const SocketAddress& address : found) {
      CHECK(address.is_loopback());
      CHECK(address.text.ends_with(":80"));
      texts.push_back(address.text);
    }
    std::ranges::sort(texts);
    CHECK(std::ranges::adjacent_find(texts) == texts.end());

    REQUIRE(resolve("127.0.0.1", 8080).size() == 1);
    CHECK(resolve("127.0.0.1", 8080).front().text == "127.0.0.1:8080");
    CHECK(resolve("::1", 1).front().text == "[::1]:1");
    CHECK(resolve("not a name", 80).empty());
  }

  TEST_CASE("a free port is chosen once, and all listeners of the address share it") {
    std::string error;
    const Descriptors all{open_listeners(*parse_address("127.0.0.1:0"), 4, error)};
    REQUIRE(all.size() == 4);
    const std::string chosen = bound_address(all.front()).text;
    CHECK(chosen != "127.0.0.1:0");
    for (const int fd : all) CHECK(bound_address(fd).text == chosen);
  }

  TEST_CASE("an address that others listen on is refused, though they share it among themselves") {
    std::string error;
    const Descriptors ours{open_listeners(*parse_address("127.0.0.1:0"), 2, error)};
    REQUIRE(ours.size() == 2);
    const SocketAddress taken = bound_address(ours.front());
    const Descriptors theirs{open_listeners(taken, 2, error)};
    CHECK(theirs.empty());
    CHECK(error == taken.text + ": Address already in use");
  }

  TEST_CASE("an address is free again once all its listeners are closed") {
    std::string error;
    SocketAddress address;
    {
      const Descriptors first{open_listeners(*parse_address("127.0.0.1:0"), 2, error)};
      REQUIRE(first.size() == 2);
      address = bound_address(first.front());
    }
    const Descriptors second{open_listeners(address, 2, error)};
    CHECK(second.size() == 2);
    CHECK(error.empty());
  }

  TEST_CASE("an address of another machine cannot be listened on, and the error says which it was") {
    std::string error;
    CHECK(open_listeners(*parse_address("192.0.2.1:0"), 1, error).empty());
    CHECK(error.starts_with("192.0.2.1:0: "));
  }
}
