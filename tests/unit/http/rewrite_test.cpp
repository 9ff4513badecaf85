#include "proxy/http/rewrite.hpp"

#include <string>

#include <doctest/doctest.h>

#include "proxy/http/target.hpp"

using namespace outrigger;
using namespace outrigger::http;

namespace {

std::string sent(const PathRewrite& rule, std::string_view path) {
  Buffer scratch;
  return std::string(rewritten(rule, path, scratch));
}

PathRewrite prefix(std::string_view matched, std::string_view by) { return {PathRewrite::Kind::prefix, matched, by}; }

}  // namespace

TEST_SUITE("http") {
  TEST_CASE("a prefix gives way at the end of a segment, whatever slashes the two are written with") {
    struct Row {
      const char* matched;
      const char* by;
      const char* path;
      const char* sent;
    };
    for (const Row& row :
         {Row{"/api", "/v2", "/api", "/v2"}, Row{"/api", "/v2", "/api/", "/v2/"},
          Row{"/api", "/v2", "/api/x/y", "/v2/x/y"}, Row{"/api", "/v2/", "/api/x", "/v2/x"},
          Row{"/api", "/v2/", "/api", "/v2"}, Row{"/api/", "/v2", "/api/x", "/v2/x"},
          Row{"/api/", "/v2/", "/api/", "/v2/"}, Row{"/api", "/", "/api", "/"}, Row{"/api", "/", "/api/x", "/x"},
          Row{"/", "/v2", "/", "/v2/"}, Row{"/", "/v2", "/x", "/v2/x"}, Row{"/", "/", "/x", "/x"},
          Row{"/a", "/b/c", "/a//x", "/b/c//x"}, Row{"/a", "/", "/a//x", "//x"},
          Row{"/a", "/b", "/a/%2e.x", "/b/%2e.x"}}) {
      CAPTURE(row.sent);
      CHECK(sent(prefix(row.matched, row.by), row.path) == row.sent);
    }
  }

  TEST_CASE("a whole path takes the place of any, and without a rule the path stays") {
    CHECK(sent({PathRewrite::Kind::path, {}, "/new"}, "/old/x") == "/new");
    CHECK(sent({}, "/old/x") == "/old/x");
  }

  TEST_CASE("the whole server is not a path") {
    CHECK(sent({PathRewrite::Kind::path, {}, "/new"}, "*") == "*");
    CHECK(sent(prefix("/", "/new"), "*") == "*");
  }

  TEST_CASE("what is sent is in the one form of paths") {
    for (const char* by : {"/", "/v2", "/v2/", "/a/b..c"}) {
      for (const char* path : {"/api", "/api/", "/api//", "/api/...", "/api/a..", "/api/.a", "/api/x%2F.."}) {
        const std::string once = sent(prefix("/api", by), path);
        Buffer scratch;
        const auto again = normalise_target(once, Method::get, EscapedSlashes::keep, scratch);
        CAPTURE(once);
        REQUIRE(again.has_value());
        CHECK(again->path == once);
      }
    }
  }
}
