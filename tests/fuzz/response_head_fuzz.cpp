// tests/fuzz/response_head_fuzz.cpp
//
// The first byte says where the rest is cut in two and for what client it is written. A head must mean the same in one
// piece and in two, and what the client is sent must be taken again, with the framing that was chosen for it.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "proxy/base/ensure.hpp"
#include "proxy/http/forward.hpp"
#include "proxy/http/h1_head.hpp"

using namespace outrigger;
using namespace outrigger::http;

namespace {

constexpr HeadLimits kLimits{.max_head = 1024, .max_fields = 20};
constexpr HeadLimits kWide{.max_head = 1 << 20, .max_fields = kMaxFields};

void check_relayed(const ResponseHead& head, bool answers_head, std::uint8_t client_minor) {
  ResponseForward how;
  how.instance = "fuzz";
  how.date = "Sun, 06 Nov 1994 08:49:37 GMT";
  how.client_minor = client_minor;
  Buffer out;
  write_response_head(head, how, out);

  const auto again = std::make_unique<HeadParser>();
  HeadScan scan;
  const HeadVerdict verdict = again->parse_response(out.view(), kWide, answers_head, scan);
  ENSURE(verdict.complete());
  ENSURE(verdict.size == out.size());
  const ResponseHead& sent = again->response();
  ENSURE(sent.status == head.status && sent.reason_phrase == head.reason_phrase);
  // What follows a 101 is a tunnel until one side closes it, and no body of the head.
  const Framing expected = head.status == 101 ? Framing::none : client_framing(head, client_minor);
  ENSURE(sent.body.framing == expected && sent.body.bytes == head.body.bytes);
  ENSURE(head.status != 101 || sent.fields->find(FieldId::upgrade) == head.fields->find(FieldId::upgrade));
  ENSURE(!sent.fields->has(FieldId::x_outrigger_reason) && !sent.fields->has(FieldId::keep_alive));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const bool answers_head = (data[0] & 1) != 0;
  const auto client_minor = static_cast<std::uint8_t>((data[0] >> 1) & 1);
  const std::string_view text{reinterpret_cast<const char*>(data) + 1, size - 1};
  const std::size_t cut = text.empty() ? 0 : data[0] * text.size() / 256;
  const auto whole = std::make_unique<HeadParser>();
  HeadScan scan;
  const HeadVerdict verdict = whole->parse_response(text, kLimits, answers_head, scan);

  const auto pieces = std::make_unique<HeadParser>();
  HeadScan piecewise;
  HeadVerdict in_two = pieces->parse_response(text.substr(0, cut), kLimits, answers_head, piecewise);
  if (in_two.state == HeadVerdict::State::need_more) {
    in_two = pieces->parse_response(text, kLimits, answers_head, piecewise);
  }
  // A head that is not all there may be refused earlier in one piece, never later.
  if (in_two.state != HeadVerdict::State::need_more || verdict.complete()) {
    ENSURE(in_two.state == verdict.state && in_two.reason == verdict.reason && in_two.size == verdict.size);
  }

  if (!verdict.complete()) return 0;
  // A 101 that names no protocol switches to none, and goes to no client.
  const ResponseHead& head = whole->response();
  if (head.status != 101 || head.fields->has(FieldId::upgrade)) check_relayed(head, answers_head, client_minor);
  return 0;
}
