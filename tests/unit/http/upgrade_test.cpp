#include "proxy/http/upgrade.hpp"

#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/unit/http/heads.hpp"

using namespace outrigger;
using namespace outrigger::http;
using namespace outrigger::test;

namespace {

const std::vector<std::string> kAllowed = {"websocket", "chat"};

std::string asked(const std::string& head, const std::vector<std::string>& allowed = kAllowed) {
  const ParsedRequest parsed{head};
  return std::string{upgrade_of(parsed.head(), allowed)};
}
std::string asked_with(const std::string& lines) { return asked(get_with(lines)); }

bool switches(const std::string& lines, std::string_view to = "websocket") {
  const ParsedResponse parsed{"HTTP/1.1 101 Switching Protocols\r\n" + lines + "\r\n"};
  return switches_to(parsed.head(), to);
}

}  // namespace

TEST_SUITE("http") {
  TEST_CASE("of what a request asks for, the first protocol that is allowed counts, in the words of who allows it") {
    CHECK(asked_with("Connection: Upgrade\r\nUpgrade: websocket\r\n") == "websocket");
    CHECK(asked_with("Connection: keep-alive, upgrade\r\nUpgrade: WebSocket\r\n") == "websocket");
    CHECK(asked_with("Connection: Upgrade\r\nUpgrade: h2c, chat, websocket\r\n") == "chat");
    CHECK(asked_with("Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: ,websocket\r\n") == "websocket");
  }

  TEST_CASE("nothing else is asked for") {
    CHECK(asked_with("Connection: Upgrade\r\nUpgrade: h2c\r\n") == "");
    CHECK(asked_with("Connection: Upgrade\r\nUpgrade: websocket/13\r\n") == "");
    CHECK(asked_with("Upgrade: websocket\r\n") == "");
    CHECK(asked_with("Connection: Upgrade\r\n") == "");
    CHECK(asked_with("") == "");
    CHECK(asked(get_with("Connection: Upgrade\r\nUpgrade: websocket\r\n"), {}) == "");
    CHECK(asked("GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n") == "");
  }

  TEST_CASE("a request with a body asks for nothing") {
    const std::string lines = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    CHECK(asked_with(lines + "Content-Length: 0\r\n") == "websocket");
    CHECK(asked_with(lines + "Content-Length: 1\r\n") == "");
    CHECK(asked_with(lines + "Transfer-Encoding: chunked\r\n") == "");
  }

  TEST_CASE("an answer switches to the protocol that was asked for, or to none") {
    CHECK(switches("Upgrade: websocket\r\n"));
    CHECK(switches("upgrade: WebSocket\r\n"));
    CHECK_FALSE(switches(""));
    CHECK_FALSE(switches("Upgrade: h2c\r\n"));
    CHECK_FALSE(switches("Upgrade: websocket, h2c\r\n"));
    CHECK_FALSE(switches("Upgrade: websocket\r\nUpgrade: websocket\r\n"));
    CHECK_FALSE(switches("Upgrade:\r\n"));
  }
}
