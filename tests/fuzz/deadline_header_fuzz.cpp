// tests/fuzz/deadline_header_fuzz.cpp
//
// A deadline that can be read is not negative, and what is written for it is read back as no more than it was, short of
// the least time that can be written.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "proxy/base/ensure.hpp"
#include "proxy/http/deadline_header.hpp"

using namespace outrigger;
using namespace outrigger::http;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text{reinterpret_cast<const char*>(data), size};
  for (const DeadlineForm form : kDeadlineForms) {
    const auto left = parse_deadline(form, text);
    if (!left) continue;
    ENSURE(left->count() >= 0);
    for (const DeadlineForm written : kDeadlineForms) {
      char value[kMaxDeadlineText];
      const std::size_t length = write_deadline(written, *left, value);
      ENSURE(length <= sizeof value);
      const auto back = parse_deadline(written, {value, length});
      ENSURE(back && back->count() > 0);
      ENSURE(*back <= std::max<Nanos>(*left, std::chrono::milliseconds{1}));
    }
  }
  return 0;
}
