#include "proxy/http/methods.hpp"

#include <doctest/doctest.h>

using namespace outrigger::http;

TEST_SUITE("http") {
  TEST_CASE("methods are known by their exact spelling, with what they promise") {
    struct Row {
      const char* name;
      Method method;
      bool safe;
      bool idempotent;
    };
    for (const Row& row : {Row{"GET", Method::get, true, true}, Row{"HEAD", Method::head, true, true},
                           Row{"OPTIONS", Method::options, true, true}, Row{"TRACE", Method::trace, true, true},
                           Row{"PUT", Method::put, false, true}, Row{"DELETE", Method::delete_, false, true},
                           Row{"POST", Method::post, false, false}, Row{"PATCH", Method::patch, false, false},
                           Row{"CONNECT", Method::connect, false, false}, Row{"get", Method::other, false, false},
                           Row{"GETS", Method::other, false, false}, Row{"", Method::other, false, false},
                           Row{"PROPFIND", Method::other, false, false}}) {
      CAPTURE(row.name);
      CHECK(parse_method(row.name) == row.method);
      CHECK(is_safe(row.method) == row.safe);
      CHECK(is_idempotent(row.method) == row.idempotent);
    }
  }
}
