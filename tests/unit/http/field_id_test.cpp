#include "proxy/http/field_id.hpp"

#include <cctype>
#include <string>

#include <doctest/doctest.h>

#include "proxy/http/field_list.hpp"

using namespace outrigger;
using namespace outrigger::http;

TEST_SUITE("http") {
  TEST_CASE("each known name is recognised in any case, and no near miss is") {
    for (unsigned i = 1; i < static_cast<unsigned>(FieldId::count); ++i) {
      const auto id = static_cast<FieldId>(i);
      const std::string name{field_name(id)};
      if (name.empty()) continue;
      CAPTURE(name);
      std::string upper = name;
      std::string lower = name;
      for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
      for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      CHECK(identify_field(name) == id);
      CHECK(identify_field(upper) == id);
      CHECK(identify_field(lower) == id);
      CHECK(identify_field(name + "s") != id);
      CHECK(identify_field(name.substr(1)) != id);
      for (std::size_t at = 0; at < name.size(); ++at) {
        std::string other = name;
        other[at] = other[at] == '-' ? '_' : '~';
        CHECK(identify_field(other) != id);
      }
    }
  }

  TEST_CASE("families of names are recognised by their beginning") {
    CHECK(identify_field("X-Outrigger-Attempt") == FieldId::x_outrigger);
    CHECK(identify_field("x-outrigger-anything") == FieldId::x_outrigger);
    CHECK(identify_field("X-OUTRIGGER-REASON") == FieldId::x_outrigger_reason);
    CHECK(identify_field("X-Outrigger-Timeline") == FieldId::x_outrigger_timeline);
    CHECK(identify_field("X-Forwarded-Port") == FieldId::x_forwarded);
    CHECK(identify_field("X-Forwarded-For") == FieldId::x_forwarded_for);
    for (const char* name :
         {"X-Outrigger-", "X-Outrigger", "X-Forwarded-", "X-Forwarde", "Y-Outrigger-A", "X", "A-Name"}) {
      CAPTURE(name);
      CHECK(identify_field(name) == FieldId::other);
    }
    CHECK(identify_field("") == FieldId::other);
  }

  TEST_CASE("a field list tells what it holds without being searched") {
    FieldList list;
    CHECK(list.push({"Via", "1.1 a"}, FieldId::via));
    CHECK(list.push({"Via", "1.1 b"}, FieldId::via));
    CHECK(list.has(FieldId::via));
    CHECK_FALSE(list.has(FieldId::host));
    CHECK(list.has_any(FieldSet{FieldId::host, FieldId::via}));
    CHECK(list.find(FieldId::via) == "1.1 a");
    CHECK_FALSE(list.find(FieldId::host));
    list.clear();
    CHECK(list.size() == 0);
    CHECK_FALSE(list.has(FieldId::via));
    for (std::size_t i = 0; i < kMaxFields; ++i) REQUIRE(list.push({"A", "b"}, FieldId::other));
    CHECK_FALSE(list.push({"A", "b"}, FieldId::other));
  }
}
