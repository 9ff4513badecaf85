#include "tests/fuzz/byte_stream.hpp"

#include <memory>
#include <utility>

#include "proxy/http/chunked.hpp"

namespace outrigger::fuzz {
namespace {

using http::Framing;

/// Takes a body off the front of `rest`; it may have broken off in the middle.
Reach take_body(const http::BodyLength& length, bool ended, std::string_view& rest, std::string& body) {
  switch (length.framing) {
    case Framing::none: return Reach::whole;
    case Framing::content_length: {
      body = rest.substr(0, length.bytes);
      rest.remove_prefix(body.size());
      return body.size() == length.bytes ? Reach::whole : Reach::cut;
    }
    case Framing::until_close: {
      body = std::exchange(rest, {});
      return ended ? Reach::whole : Reach::cut;
    }
    case Framing::chunked: break;
  }
  http::ChunkDecoder decoder{{.max_extensions = SIZE_MAX, .max_trailers = SIZE_MAX}};
  std::string bytes{rest};
  const auto step = decoder.decode(bytes);
  body = step.data;
  rest.remove_prefix(step.consumed);
  if (step.state == http::ChunkDecoder::State::done) return Reach::whole;
  return step.state == http::ChunkDecoder::State::error ? Reach::broken : Reach::cut;
}

}  // namespace

SentRequests read_requests(std::string_view bytes, const http::HeadLimits& limits) {
  const auto parser = std::make_unique<http::HeadParser>();
  SentRequests found;
  while (!bytes.empty()) {
    http::HeadScan scan;
    const auto verdict = parser->parse_request(bytes, limits, scan);
    found.refused = verdict.refused();
    found.cut = !found.refused && !verdict.complete();
    if (!verdict.complete()) return found;
    const http::RequestHead& head = parser->request();
    bytes.remove_prefix(verdict.size);
    SentRequest request{.method = std::string{head.method_name},
                        .target = std::string{head.target},
                        .idempotent = http::is_idempotent(head.method) ||
                                      find_field(head.fields->view(), "Idempotency-Key").has_value(),
                        .upgrade = head.upgrade};
    request.reach = take_body(head.body, false, bytes, request.body);
    found.list.push_back(request);
    // What comes behind a request to change the protocol may be of another one.
    if (request.reach != Reach::whole || request.upgrade) return found;
  }
  return found;
}

SentAnswers read_answers(std::string_view bytes, const std::vector<SentRequest>& asked, bool ended, bool of_proxy) {
  const auto parser = std::make_unique<http::HeadParser>();
  SentAnswers found;
  while (!bytes.empty()) {
    http::HeadScan scan;
    const bool to_head = found.list.size() < asked.size() && asked[found.list.size()].method == "HEAD";
    const http::HeadLimits any{.max_head = SIZE_MAX, .max_fields = http::kMaxFields};
    const auto verdict = parser->parse_response(bytes, any, to_head, scan);
    found.refused = verdict.refused();
    found.cut = !found.refused && !verdict.complete();
    if (!verdict.complete()) return found;
    const http::ResponseHead& head = parser->response();
    bytes.remove_prefix(verdict.size);
    if (head.status == 101) return found;  // another protocol from here on
    if (head.status < 200) {
      found.interim.push_back(head.status);
      continue;
    }
    SentAnswer answer{.status = head.status,
                      .local = of_proxy && (head.fields->has(http::FieldId::x_outrigger_reason) ||
                                            find_field(head.fields->view(), "X-Outrigger-Fallback").has_value()),
                      .last = !head.keep_alive};
    // A request that was refused before its method was known is answered like any other.
    if (to_head && answer.local && bytes.starts_with('{')) {
      answer.body = std::exchange(bytes, {});
      answer.reach = Reach::whole;
    } else {
      answer.reach = take_body(head.body, ended, bytes, answer.body);
    }
    found.list.push_back(answer);
    if (answer.reach != Reach::whole) return found;
  }
  return found;
}

}  // namespace outrigger::fuzz
