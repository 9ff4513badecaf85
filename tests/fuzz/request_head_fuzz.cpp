// tests/fuzz/request_head_fuzz.cpp
//
// The first byte says where the rest is cut in two. A head must mean the same in one piece and in two, and what is sent
// on for it must be taken again, with the same framing and without what was to be removed.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "proxy/base/ensure.hpp"
#include "proxy/http/forward.hpp"
#include "proxy/http/h1_head.hpp"
#include "proxy/http/target.hpp"

using namespace outrigger;
using namespace outrigger::http;

namespace {

constexpr HeadLimits kLimits{.max_head = 1024, .max_fields = 20};
constexpr HeadLimits kWide{.max_head = 1 << 20, .max_fields = kMaxFields};

void check_forwarded(const RequestHead& head) {
  Buffer scratch;
  const auto target = normalise_target(head.target, head.method, EscapedSlashes::keep, scratch);
  if (!target) return;
  RequestForward how;
  how.instance = "fuzz";
  how.path = target->path;
  how.query = target->query;
  how.authority = target->authority;
  how.host = head.host.empty() && target->authority.empty() ? "fallback" : "";
  how.client_ip = "127.0.0.1";
  how.request_id = "id";
  Buffer out;
  write_request_head(head, how, out);
  append_attempt_tail({}, out);

  const auto again = std::make_unique<HeadParser>();
  HeadScan scan;
  const HeadVerdict verdict = again->parse_request(out.view(), kWide, scan);
  ENSURE(verdict.complete());
  ENSURE(verdict.size == out.size());
  const RequestHead& sent = again->request();
  ENSURE(sent.body.framing == head.body.framing && sent.body.bytes == head.body.bytes);
  ENSURE(sent.method_name == head.method_name);
  ENSURE(sent.minor == 1 && sent.keep_alive && !sent.upgrade && !sent.expects_continue);
  ENSURE(sent.host == (!target->authority.empty() ? target->authority : head.host.empty() ? "fallback" : head.host));
  const std::string_view named = sent.fields->has(FieldId::te) ? "TE" : "";
  ENSURE(sent.fields->find(FieldId::connection).value_or("") == named);
  ENSURE(!sent.fields->has(FieldId::x_outrigger_reason));
  ENSURE(sent.fields->find(FieldId::x_forwarded_for) == "127.0.0.1");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text{reinterpret_cast<const char*>(data) + 1, size - 1};
  const std::size_t cut = text.empty() ? 0 : data[0] * text.size() / 256;
  const auto whole = std::make_unique<HeadParser>();
  HeadScan scan;
  const HeadVerdict verdict = whole->parse_request(text, kLimits, scan);

  const auto pieces = std::make_unique<HeadParser>();
  HeadScan piecewise;
  HeadVerdict in_two = pieces->parse_request(text.substr(0, cut), kLimits, piecewise);
  if (in_two.state == HeadVerdict::State::need_more) in_two = pieces->parse_request(text, kLimits, piecewise);
  // A head that is not all there may be refused earlier in one piece, never later.
  if (in_two.state != HeadVerdict::State::need_more || verdict.complete()) {
    ENSURE(in_two.state == verdict.state && in_two.reason == verdict.reason && in_two.size == verdict.size);
  }

  if (verdict.complete()) check_forwarded(whole->request());
  return 0;
}
