// tests/unit/http/heads.hpp
//
// Heads for tests: parsing one that must be good, and what became of one that may not be.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <doctest/doctest.h>

#include "proxy/base/reason.hpp"
#include "proxy/http/h1_head.hpp"

namespace outrigger::test {

/// A parsed request with the bytes and the parser that its views need.
struct ParsedRequest {
  std::string bytes;
  std::unique_ptr<http::HeadParser> parser = std::make_unique<http::HeadParser>();
  http::HeadVerdict verdict;

  explicit ParsedRequest(std::string text, const http::HeadLimits& limits = {}) : bytes{std::move(text)} {
    http::HeadScan scan;
    verdict = parser->parse_request(bytes, limits, scan);
  }
  const http::RequestHead& head() const {
    REQUIRE(verdict.complete());
    return parser->request();
  }
};

struct ParsedResponse {
  std::string bytes;
  std::unique_ptr<http::HeadParser> parser = std::make_unique<http::HeadParser>();
  http::HeadVerdict verdict;

  explicit ParsedResponse(std::string text, bool answers_head = false, const http::HeadLimits& limits = {})
      : bytes{std::move(text)} {
    http::HeadScan scan;
    verdict = parser->parse_response(bytes, limits, answers_head, scan);
  }
  const http::ResponseHead& head() const {
    REQUIRE(verdict.complete());
    return parser->response();
  }
};

/// "complete", "need_more", or the name of the reason.
inline std::string show(const http::HeadVerdict& verdict) {
  if (verdict.complete()) return "complete";
  return verdict.refused() ? std::string{to_string(verdict.reason)} : "need_more";
}

inline std::string request_outcome(std::string text, const http::HeadLimits& limits = {}) {
  return show(ParsedRequest{std::move(text), limits}.verdict);
}

inline std::string response_outcome(std::string text, const http::HeadLimits& limits = {}) {
  return show(ParsedResponse{std::move(text), false, limits}.verdict);
}

/// A request with one line between Host and the end.
inline std::string get_with(std::string_view lines) {
  return "GET / HTTP/1.1\r\nHost: a\r\n" + std::string{lines} + "\r\n";
}
inline std::string ok_with(std::string_view lines) { return "HTTP/1.1 200 OK\r\n" + std::string{lines} + "\r\n"; }

}  // namespace outrigger::test
