// tests/fuzz/cache_control_fuzz.cpp
//
// The first byte says into which fields of a message the rest goes, line by line. Whatever stands there, times are
// within their bounds, reading again says the same, and a line more that forbids storing or reuse is obeyed.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/ensure.hpp"
#include "proxy/http/cache_control.hpp"

using namespace outrigger;
using namespace outrigger::http;

namespace {

constexpr std::int64_t kWall = 784'111'777;
constexpr Nanos kMost = std::chrono::seconds{std::int64_t{1} << 31};
constexpr std::string_view kNames[] = {"Cache-Control", "Vary", "Age", "Expires", "Date", "Connection"};

bool in_bounds(Nanos time, Nanos most) { return time >= Nanos{0} && time <= most; }

void check_request(std::vector<Field> fields) {
  const auto demand = read_cache_demand(fields, {});
  ENSURE(demand);  // none of these fields keeps a request out
  ENSURE(demand->max_age == kForever || in_bounds(demand->max_age, kMost));
  ENSURE(demand->min_fresh == kForever || in_bounds(demand->min_fresh, kMost));
  ENSURE(demand->max_stale == kForever || in_bounds(demand->max_stale, kMost));
  fields.push_back({"Cache-Control", "no-cache, max-age=1"});
  const auto stricter = read_cache_demand(fields, {});
  ENSURE(stricter->no_cache && stricter->max_age <= std::chrono::seconds{1});
}

void check_response(std::vector<Field> fields) {
  StorableResponse response;
  read_storable(200, fields, kWall, std::chrono::seconds{1}, response);
  const CacheTerms& terms = response.terms;
  ENSURE(!terms.lifetime || in_bounds(*terms.lifetime, kMost));
  ENSURE(in_bounds(terms.initial_age, 2 * kMost));
  if (terms.storable) {
    ENSURE(find_field({response.fields.begin(), response.fields.size()}, "Date"));
    for (const std::string_view name : response.vary) ENSURE(!name.empty() && name != "*");
  }
  StorableResponse again;
  read_storable(200, fields, kWall, std::chrono::seconds{1}, again);
  ENSURE(again.terms.storable == terms.storable && again.terms.lifetime == terms.lifetime);
  for (const Field& forbids : {Field{"Cache-Control", "no-store"}, Field{"Vary", "*"}, Field{"Set-Cookie", "a=b"}}) {
    fields.push_back(forbids);
    StorableResponse forbidden;
    read_storable(200, fields, kWall, std::chrono::seconds{1}, forbidden);
    ENSURE(!forbidden.terms.storable);
    fields.pop_back();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::size_t name = data[0];
  const std::string text{reinterpret_cast<const char*>(data) + 1, size - 1};
  std::vector<Field> fields;
  for (std::string_view rest = text; !rest.empty() && fields.size() < 100;) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    fields.push_back({kNames[name++ % std::size(kNames)], rest.substr(0, end)});
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  check_request(fields);
  check_response(fields);
  return 0;
}
