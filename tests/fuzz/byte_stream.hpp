// tests/fuzz/byte_stream.hpp
//
// What a whole byte stream says, read afterwards and in one piece by the strict parser: requests one after the other,
// or their answers. A connection that took the same bytes in pieces must have understood the same.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/http/h1_head.hpp"

namespace outrigger::fuzz {

/// How far a message got before its stream ended.
enum class Reach : std::uint8_t { cut, whole, broken };

struct SentRequest {
  std::string method;
  std::string target;
  std::string body;  // decoded
  Reach reach = Reach::cut;
  bool idempotent = false;  // by its method or a key
  bool upgrade = false;
};

struct SentAnswer {
  std::uint16_t status = 0;
  std::string body;  // decoded
  Reach reach = Reach::cut;
  bool local = false;  // a proxy says that it is its own
  bool last = false;   // it says that none will follow it
};

struct SentRequests {
  std::vector<SentRequest> list;
  bool refused = false;  // the stream ends in what no head is
  bool cut = false;      // or in a part of one
};

struct SentAnswers {
  std::vector<SentAnswer> list;
  std::vector<std::uint16_t> interim;
  bool refused = false;
  bool cut = false;
};

/// The requests of a stream, as far as it can be read.
SentRequests read_requests(std::string_view bytes, const http::HeadLimits& limits);

/// The answers of a stream, by what was asked; `ended`: the stream came to an end in good order; `of_proxy`: what they
/// say of a proxy is believed.
SentAnswers read_answers(std::string_view bytes, const std::vector<SentRequest>& asked, bool ended, bool of_proxy);

}  // namespace outrigger::fuzz
