// tests/fuzz/retry_after_fuzz.cpp
//
// The first eight bytes are the reference time. A delay that can be read is not negative, and a date that can be read
// is the one that is written for it.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "proxy/base/ensure.hpp"
#include "proxy/http/http_date.hpp"
#include "proxy/http/retry_after.hpp"

using namespace outrigger;
using namespace outrigger::http;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::int64_t reference = 0;
  if (size < sizeof reference) return 0;
  std::memcpy(&reference, data, sizeof reference);
  const std::string text{reinterpret_cast<const char*>(data) + sizeof reference, size - sizeof reference};
  const auto delay = parse_retry_after(text, reference);
  ENSURE(!delay || delay->count() >= 0);
  if (const auto seconds = parse_http_date(text, reference)) {
    const auto written = http_date(*seconds);
    const auto back = parse_http_date({written.data(), written.size()}, reference);
    // A leap second at the very end of the calendar is beyond what can be written.
    ENSURE(back == *seconds || *seconds == 253'402'300'800);
    ENSURE(delay.has_value());
  }
  return 0;
}
