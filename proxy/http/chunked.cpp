#include "proxy/http/chunked.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "proxy/http/chars.hpp"
#include "proxy/http/field_id.hpp"
#include "proxy/http/lines.hpp"

namespace outrigger::http {
namespace {

/// More digits than a 64-bit size has; also what bounds leading zeros.
constexpr std::uint8_t kMaxDigits = 16;

/// Fields that decide framing, routing, identity or how the message is handled mean nothing after its body.
constexpr FieldSet kNotInTrailers{FieldId::host,
                                  FieldId::connection,
                                  FieldId::content_length,
                                  FieldId::transfer_encoding,
                                  FieldId::te,
                                  FieldId::trailer,
                                  FieldId::upgrade,
                                  FieldId::expect,
                                  FieldId::keep_alive,
                                  FieldId::proxy_connection,
                                  FieldId::proxy_authenticate,
                                  FieldId::proxy_authorization,
                                  FieldId::proxy_status,
                                  FieldId::via,
                                  FieldId::date,
                                  FieldId::max_forwards,
                                  FieldId::forwarded,
                                  FieldId::x_forwarded_for,
                                  FieldId::x_forwarded_proto,
                                  FieldId::x_forwarded_host,
                                  FieldId::x_forwarded_client_cert,
                                  FieldId::x_forwarded,
                                  FieldId::x_request_id,
                                  FieldId::x_request_priority,
                                  FieldId::x_request_timeout,
                                  FieldId::grpc_timeout,
                                  FieldId::x_envoy_expected_rq_timeout_ms,
                                  FieldId::retry_after,
                                  FieldId::x_should_retry,
                                  FieldId::x_outrigger,
                                  FieldId::x_outrigger_reason,
                                  FieldId::x_outrigger_timeline,
                                  FieldId::idempotency_key,
                                  FieldId::authorization,
                                  FieldId::www_authenticate,
                                  FieldId::cookie,
                                  FieldId::set_cookie,
                                  FieldId::content_type,
                                  FieldId::content_encoding,
                                  FieldId::content_range,
                                  FieldId::range,
                                  FieldId::cache_control,
                                  FieldId::traceparent};

}  // namespace

ChunkDecoder::Step ChunkDecoder::decode(std::span<char> bytes) {
  std::size_t at = 0;
  char* data = bytes.data();
  std::size_t decoded = 0;
  while (at != bytes.size() && at_ != At::done && at_ != At::failed) {
    if (at_ != At::data) {
      if (framing_byte(bytes[at])) {
        ++at;
      } else {
        at_ = At::failed;
      }
      continue;
    }
    const auto piece = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size() - at));
    if (decoded == 0) {
      data = bytes.data() + at;
    } else {
      std::memmove(data + decoded, bytes.data() + at, piece);
    }
    decoded += piece;
    at += piece;
    left_ -= piece;
    if (left_ == 0) at_ = At::data_cr;
  }
  const State state = at_ == At::done ? State::done : at_ == At::failed ? State::error : State::need_more;
  return {state, at, {data, decoded}};
}

void ChunkDecoder::reset() noexcept {
  at_ = At::size;
  digits_ = 0;
  left_ = 0;
  extension_bytes_ = trailer_bytes_ = line_start_ = 0;
  trailers_.clear();
}

bool ChunkDecoder::framing_byte(char c) {
  const auto expect = [&](char wanted, At then) {
    at_ = then;
    return c == wanted;
  };
  switch (at_) {
    case At::size: return size_byte(c);
    case At::extension_blank:
    case At::extension: return extension_byte(c);
    case At::size_lf: return expect('\n', left_ == 0 ? At::trailer_start : At::data);
    case At::data_cr: return expect('\r', At::data_lf);
    case At::data_lf: digits_ = 0; return expect('\n', At::size);
    case At::trailer_start:
      if (c == '\r') return expect('\r', At::end_lf);
      line_start_ = trailers_.size();
      at_ = At::trailer;
      return trailer_byte(c);
    case At::trailer: return trailer_byte(c);
    case At::trailer_lf: return trailer_byte(c) && c == '\n' && end_trailer_line();
    case At::end_lf: return expect('\n', At::done);
    case At::data:
    case At::done:
    case At::failed: break;
  }
  return false;
}

bool ChunkDecoder::size_byte(char c) noexcept {
  const int digit = hex_value(c);
  if (digit >= 0) {
    left_ = (left_ << 4) | static_cast<std::uint64_t>(digit);
    return ++digits_ <= kMaxDigits;
  }
  if (digits_ == 0) return false;
  if (c == '\r') {
    at_ = At::size_lf;
    return true;
  }
  // Blanks after a size are only the optional ones before an extension.
  at_ = is_blank(c) ? At::extension_blank : At::extension;
  return (is_blank(c) || c == ';') && ++extension_bytes_ <= limits_.max_extensions;
}

bool ChunkDecoder::extension_byte(char c) noexcept {
  if (at_ == At::extension && c == '\r') {
    at_ = At::size_lf;
    return true;
  }
  if (at_ == At::extension_blank && !is_blank(c)) {
    if (c != ';') return false;
    at_ = At::extension;
  }
  return is(kValue, c) && ++extension_bytes_ <= limits_.max_extensions;
}

bool ChunkDecoder::trailer_byte(char c) {
  if (++trailer_bytes_ > limits_.max_trailers) return false;
  trailers_.push_back(c);
  if (c == '\r') at_ = At::trailer_lf;
  return is(kValue, c) || c == '\r' || at_ == At::trailer_lf;
}

bool ChunkDecoder::end_trailer_line() {
  Lines lines{trailers_.view().substr(line_start_)};
  Field field;
  if (lines.next() != LineState::whole || !lines.split(field)) return false;
  if (kNotInTrailers.has(identify_field(field.name))) trailers_.truncate(line_start_);
  at_ = At::trailer_start;
  return true;
}

ChunkHeader::ChunkHeader(std::uint64_t size) noexcept {
  char* end = std::to_chars(text_.data(), text_.data() + 16, size, 16).ptr;
  *end++ = '\r';
  *end++ = '\n';
  length_ = static_cast<std::uint8_t>(end - text_.data());
}

}  // namespace outrigger::http
