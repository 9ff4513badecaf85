#include "proxy/http/target.hpp"

#include <initializer_list>
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

struct Row {
  const char* raw;
  const char* normal;
};

void check_forms(std::initializer_list<Row> rows) {
  for (const Row& row : rows) {
    CAPTURE(row.raw);
    CHECK(normal(row.raw) == row.normal);
    // The normal form is its own normal form.
    CHECK(normal(normal(row.raw)) == row.normal);
  }
}

void check_refused(std::initializer_list<std::string> targets) {
  for (const std::string& raw : targets) {
    CAPTURE(raw);
    CHECK(normal(raw) == "refused");
  }
}

}  // namespace

TEST_SUITE("http") {
  TEST_CASE("unreserved characters stand unescaped") {
    check_forms({{"/%61%7e%2D%5f%2E%39", "/a~-_.9"}, {"/a/b.c/d-e_f~g", "/a/b.c/d-e_f~g"}, {"/%41%7a", "/Az"}});
  }

  TEST_CASE("other escapes stay as they came") {
    check_forms({{"/%20%3f%23%25", "/%20%3f%23%25"},
                 {"/a%2Fb%5Cc%2f%5c", "/a%2Fb%5Cc%2f%5c"},
                 {"/%252e%252e/a", "/%252e%252e/a"},
                 {"/%80%ff%c3%A4", "/%80%ff%c3%A4"}});
  }

  TEST_CASE("dot segments are resolved, escaped ones too") {
    check_forms({{"/", "/"},
                 {"/a/./b", "/a/b"},
                 {"/a/../b", "/b"},
                 {"/a/b/..", "/a/"},
                 {"/a/.", "/a/"},
                 {"/.", "/"},
                 {"/./", "/"},
                 {"/a/..", "/"},
                 {"/a/../", "/"},
                 {"/a/b/c/./../../g", "/a/g"},
                 {"/a/%2e%2E/b", "/b"},
                 {"/a/.%2e/b", "/b"},
                 {"/a/%2e/b", "/a/b"},
                 {"/a/...", "/a/..."},
                 {"/.a/..b/a./b..", "/.a/..b/a./b.."},
                 {"/a/..;/b", "/a/..;/b"},
                 {"/a;x=1,2/@:!$&'()*+=", "/a;x=1,2/@:!$&'()*+="},
                 {"/a/../b?../x", "/b?../x"}});
  }

  TEST_CASE("dot segments that climb above the root are refused") {
    check_refused({"/..", "/../a", "/a/../../b", "/%2e%2e/", "/./..", "/.%2E", "http://a/.."});
  }

  TEST_CASE("empty segments stay") {
    check_forms({{"//", "//"}, {"//a//b//", "//a//b//"}, {"/a//../b", "/a/b"}, {"//..", "/"}});
  }

  TEST_CASE("a query stays as it came") {
    check_forms({{"/a?b=/../%zz\\?c", "/a?b=/../%zz\\?c"}, {"/?", "/?"}, {"/?%61%00", "/?%61%00"}});
  }

  TEST_CASE("path and query are visible ASCII without a fragment") {
    check_refused({"/a\0b"s, "/a b", "/a#b", "/\xc3\xa4", "/a?b c", "/a?b#c", "/a?\x7f", "/a?\xe4", "/a\tb"});
  }

  TEST_CASE("a percent sign has two hexadecimal digits behind it") {
    check_refused({"/%", "/%4", "/%g1", "/%1g", "/a%", "/%%41", "/%-1"});
  }

  TEST_CASE("an escaped NUL is refused") { check_refused({"/%00", "/a%00b", "/%00/../a"}); }

  TEST_CASE("a raw backslash in a path is refused") { check_refused({"/a\\b", "/\\", "/a/..\\b"}); }

  TEST_CASE("a target is in origin-form, in absolute-form of http, or an asterisk") {
    check_refused({"", "a", "?a", "a/b", "a:80", "ws://a/", "http:/a", "http//a", "*a", "*"});
    CHECK(normal("/") == "/");
    CHECK(normal("http://a/b") == "/b");
    CHECK(normal("*", Method::options) == "*");
  }

  TEST_CASE("an authority is a host and perhaps a port") {
    for (const char* good : {"a", "a.example:80", "a:", "a:0", "a:65535", "127.0.0.1:1", "A_b~c!$&'()*+,;=", "%41%7a:1",
                             "[::1]", "[::1]:80", "[1:2::ffff:1.2.3.4]"}) {
      CAPTURE(good);
      CHECK(is_valid_authority(good));
    }
    for (const char* bad : {"", ":80", "a:65536", "a:123456", "a:-1", "a:b", "a:1:2", "a b", "a/b", "a#b", "a?b",
                            "a\\b", "\xc3\xa4", "%4", "%zz"}) {
      CAPTURE(bad);
      CHECK_FALSE(is_valid_authority(bad));
    }
  }

  TEST_CASE("an address in brackets has the characters of one") {
    for (const char* bad : {"[", "[]", "[:]", "[::1", "::1]", "[::1]a", "[::g]", "[1]", "[::1]:a", "[v1.a]"}) {
      CAPTURE(bad);
      CHECK_FALSE(is_valid_authority(bad));
    }
  }

  TEST_CASE("an authority has no user information") {
    check_refused({"http://u:p@a/", "http://u@a/", "http://@a/"});
    CHECK_FALSE(is_valid_authority("u@a"));
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
