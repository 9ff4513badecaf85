#include "proxy/http/target.hpp"

#include <string>

#include <doctest/doctest.h>

using namespace outrigger;
using namespace outrigger::http;
using namespace std::string_literals;

namespace {

std::string normal(std::string_view raw, Method method = Method::get, EscapedSlashes mode = EscapedSlashes::keep) {
  Buffer scratch;
  const auto target = normalise_target(raw, method, mode, scratch);
  return target ? std::string{target->path} + std::string{target->query} : "refused";
}

}  // namespace

TEST_SUITE("http") {
  TEST_CASE("a path takes the one form in which it is matched and sent") {
    struct Row {
      const char* raw;
      const char* normal;
    };
    for (const Row& row : {Row{"/", "/"},
                           Row{"/a/b.c/d-e_f~g", "/a/b.c/d-e_f~g"},
                           Row{"/%61%7e%2D%5f%2E%39", "/a~-_.9"},
                           Row{"/%20%3f%23%25", "/%20%3f%23%25"},
                           Row{"/a%2Fb%5Cc%2f%5c", "/a%2Fb%5Cc%2f%5c"},
                           Row{"/a/./b", "/a/b"},
                           Row{"/a/../b", "/b"},
                           Row{"/a/b/..", "/a/"},
                           Row{"/a/.", "/a/"},
                           Row{"/.", "/"},
                           Row{"/./", "/"},
                           Row{"/a/..", "/"},
                           Row{"/a/../", "/"},
                           Row{"/a/b/c/./../../g", "/a/g"},
                           Row{"/a/%2e%2E/b", "/b"},
                           Row{"/a/.%2e/b", "/b"},
                           Row{"/a/%2e/b", "/a/b"},
                           Row{"//", "//"},
                           Row{"//a//b//", "//a//b//"},
                           Row{"/a//../b", "/a/b"},
                           Row{"//..", "/"},
                           Row{"/a/...", "/a/..."},
                           Row{"/.a/..b/a./b..", "/.a/..b/a./b.."},
                           Row{"/a/..;/b", "/a/..;/b"},
                           Row{"/a;x=1,2/@:!$&'()*+=", "/a;x=1,2/@:!$&'()*+="},
                           Row{"/a?b=/../%zz\\?c", "/a?b=/../%zz\\?c"},
                           Row{"/a/../b?../x", "/b?../x"},
                           Row{"/?", "/?"},
                           Row{"/%252e%252e/a", "/%252e%252e/a"}}) {
      CAPTURE(row.raw);
      CHECK(normal(row.raw) == row.normal);
      // The normal form is its own normal form.
      CHECK(normal(normal(row.raw)) == row.normal);
    }
  }

  TEST_CASE("a path that could be read in two ways is refused") {
    for (const std::string& raw :
         {"/%00"s, "/a%00b"s,    "/a\\b"s,  "/\\"s,        "/%"s,       "/%4"s,   "/%g1"s,  "/%1g"s,
          "/a%"s,  "/.."s,       "/../a"s,  "/a/../../b"s, "/%2e%2e/"s, "/./.."s, "/a\0b"s, "/a b"s,
          "/a#b"s, "/\xc3\xa4"s, "/a?b c"s, "/a?b#c"s,     "/a?\x7f"s,  ""s,      "a"s,     "?a"s}) {
      CAPTURE(raw);
      CHECK(normal(raw) == "refused");
    }
  }

  TEST_CASE("escaped slashes are kept, or refused where that is configured") {
    CHECK(normal("/a%2fb", Method::get, EscapedSlashes::reject) == "refused");
    CHECK(normal("/a%5Cb", Method::get, EscapedSlashes::reject) == "refused");
    CHECK(normal("/a?%2f", Method::get, EscapedSlashes::reject) == "/a?%2f");
  }

  TEST_CASE("an absolute target is split into authority, path and query") {
    Buffer scratch;
    const auto target = normalise_target("http://a.example:80/x/../y?z", Method::get, EscapedSlashes::keep, scratch);
    REQUIRE(target);
    CHECK(target->form == TargetForm::absolute);
    CHECK(target->authority == "a.example:80");
    CHECK(target->path == "/y");
    CHECK(target->query == "?z");
    CHECK(normal("http://a") == "/");
    CHECK(normal("http://a?x") == "/?x");
    CHECK(normal("HTTPS://a/b") == "/b");
    CHECK(normal("http://a/../b") == "refused");
    CHECK(normal("http://u:p@a/") == "refused");
    CHECK(normal("ws://a/") == "refused");
  }

  TEST_CASE("an asterisk is the target of OPTIONS, as is an absolute target of OPTIONS without path") {
    Buffer scratch;
    CHECK(normal("*", Method::options) == "*");
    CHECK(normal("*", Method::get) == "refused");
    const auto target = normalise_target("http://a:1", Method::options, EscapedSlashes::keep, scratch);
    REQUIRE(target);
    CHECK(target->form == TargetForm::asterisk);
    CHECK(target->path == "*");
    CHECK(target->authority == "a:1");
    CHECK(normal("http://a/", Method::options) == "/");
  }

  TEST_CASE("a normal path is returned where it stands, without touching the scratch") {
    Buffer scratch;
    const std::string_view raw = "/v1/users/12345/orders.json?limit=10";
    const auto target = normalise_target(raw, Method::get, EscapedSlashes::keep, scratch);
    REQUIRE(target);
    CHECK(target->path.data() == raw.data());
    CHECK(scratch.capacity() == 0);
  }

  TEST_CASE("an authority is stripped of its port") {
    CHECK(without_port("a:80") == "a");
    CHECK(without_port("a") == "a");
    CHECK(without_port("[::1]:80") == "[::1]");
    CHECK(without_port("[::1]") == "[::1]");
    CHECK(without_port("") == "");
  }
}
