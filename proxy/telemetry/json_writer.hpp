// proxy/telemetry/json_writer.hpp
//
// JSON appended to a Buffer as it is said, for lines written per request and documents written per call. A document
// model would allocate per value. Strings are escaped to plain ASCII, so that the result may stand in a header field or
// a terminal whatever bytes went in; bytes that are not UTF-8 become U+FFFD.
//
// Commas are the writer's business, matching brackets the caller's.
#pragma once

#include <cstdint>
#include <string_view>

#include "proxy/base/buffer.hpp"
#include "proxy/base/time.hpp"

namespace outrigger::telemetry {

/// Appends `text` as it may stand between the quotes of a JSON string.
void append_json_text(Buffer& out, std::string_view text);
/// Appends `text` as a JSON string, quotes included.
void append_json_string(Buffer& out, std::string_view text);
/// Appends a whole number.
void append_number(Buffer& out, std::int64_t value);
/// Appends a duration in milliseconds with three decimals.
void append_ms(Buffer& out, Nanos duration);

class JsonWriter {
 public:
  explicit JsonWriter(Buffer& out) noexcept : out_(out) {}

  JsonWriter& open(char bracket) {
    separate();
    out_.push_back(bracket);
    first_ = true;
    return *this;
  }
  JsonWriter& close(char bracket) {
    out_.push_back(bracket);
    first_ = false;
    return *this;
  }
  /// Names the value that follows; `name` is our own and needs no escaping.
  JsonWriter& key(std::string_view name);
  void string(std::string_view text);
  void number(std::int64_t value);
  void ms(Nanos duration);
  /// Microseconds of Unix time, as RFC 3339.
  void time(std::int64_t unix_us);
  void boolean(bool value) { literal(value ? "true" : "false"); }
  void null() { literal("null"); }
  /// Appends a value that already is JSON.
  void literal(std::string_view json);

 private:
  void separate() {
    if (!first_) out_.push_back(',');
    first_ = false;
  }

  Buffer& out_;
  bool first_ = true;
};

}  // namespace outrigger::telemetry
