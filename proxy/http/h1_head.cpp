#include "proxy/http/h1_head.hpp"

#include <algorithm>
#include <cstring>
#include <optional>

#include "proxy/http/chars.hpp"
#include "proxy/http/lines.hpp"
#include "proxy/http/skip.hpp"
#include "proxy/http/target.hpp"

namespace outrigger::http {
namespace {

constexpr std::size_t kEmptyLinesBeforeRequest = 2;
constexpr std::string_view kVersion = "HTTP/1.";

/// What one pass over the bytes found out.
enum class Pass : std::uint8_t { complete, first_line_cut_off, fields_cut_off, refused };

/// What the fields said about framing and the connection, before it is judged as a whole.
struct Gathered {
  bool length_seen = false;
  std::uint64_t length = 0;
  bool coded = false;  // Transfer-Encoding was there
  bool last_is_chunked = false;
  std::uint32_t chunked_count = 0;
  bool other_coding = false;
  bool empty_coding = false;
  bool close = false;
  bool keep_alive = false;
  bool upgrade_option = false;
  bool names_fields = false;
  std::uint32_t options = 0;
  bool expects_continue = false;
  std::uint32_t hosts = 0;
  std::string_view host;
};

/// Digits only, below 2^63, so that no sum with a head or chunk size can wrap.
std::optional<std::uint64_t> parse_length(std::string_view digits) noexcept {
  if (digits.empty()) return std::nullopt;
  std::uint64_t value = 0;
  for (char c : digits) {
    if (!is_digit(c)) return std::nullopt;
    const auto digit = static_cast<std::uint64_t>(c - '0');
    if (value > ((std::uint64_t{1} << 63) - 1 - digit) / 10) return std::nullopt;
    value = value * 10 + digit;
  }
  return value;
}

/// One head, once, from its first byte.
class HeadPass {
 public:
  HeadPass(std::string_view bytes, std::size_t max_fields, bool is_request, FieldList& fields) noexcept
      : begin_{bytes.data()},
        lines_{bytes},
        max_fields_{std::min(max_fields, kMaxFields)},
        is_request_{is_request},
        fields_{fields} {
    fields_.clear();
  }

  Pass request(RequestHead& head) noexcept {
    if (const Pass line = first_line_after_empty_ones(); line != Pass::complete) return line;
    if (const Pass line = request_line(head); line != Pass::complete) return line;
    const Pass rest = field_section();
    return rest == Pass::complete ? finish_request(head) : rest;
  }

  Pass response(ResponseHead& head, bool answers_head) noexcept {
    if (const Pass line = status_line(head); line != Pass::complete) return line;
    const Pass rest = field_section();
    return rest == Pass::complete ? finish_response(head, answers_head) : rest;
  }

  Reason reason() const noexcept { return reason_; }
  std::size_t size() const noexcept { return size_; }

 private:
  Pass refuse(Reason reason) noexcept {
    reason_ = is_request_ || reason == Reason::response_head_too_large ? reason : Reason::protocol_error;
    return Pass::refused;
  }
  Pass refuse() noexcept { return refuse(Reason::bad_request); }
  Pass refuse_count() noexcept {
    return refuse(is_request_ ? Reason::head_too_large : Reason::response_head_too_large);
  }

  Pass first_line_after_empty_ones() noexcept {
    for (std::size_t empty = 0;; ++empty) {
      const LineState state = lines_.next();
      if (state == LineState::cut_off) return Pass::first_line_cut_off;
      if (state == LineState::bad) return refuse();
      if (!lines_.line().empty()) return Pass::complete;
      if (empty == kEmptyLinesBeforeRequest) return refuse();
    }
  }

  Pass request_line(RequestHead& head) noexcept {
    const std::string_view line = lines_.line();
    // The CR behind the line ends both searches.
    const char* const method_end = skip_token(line.data(), lines_.end());
    if (method_end == line.data() || *method_end != ' ') return refuse();
    const char* const target = method_end + 1;
    const char* const target_end = skip_target(target, lines_.end());
    if (target_end == target || *target_end != ' ') return refuse();
    const std::string_view version = line.substr(static_cast<std::size_t>(target_end + 1 - line.data()));
    if (version != "HTTP/1.1" && version != "HTTP/1.0") return refuse_version(version);
    minor_ = head.minor = version.back() == '1' ? 1 : 0;
    head.method_name = {line.data(), static_cast<std::size_t>(method_end - line.data())};
    head.method = parse_method(head.method_name);
    head.target = {target, static_cast<std::size_t>(target_end - target)};
    if (head.method == Method::connect) return refuse(Reason::method_refused);
    return target_form_allowed(head) ? Pass::complete : refuse();
  }

  Pass refuse_version(std::string_view text) noexcept {
    const bool well_formed =
        text.size() == 8 && text.substr(0, 5) == "HTTP/" && is_digit(text[5]) && text[6] == '.' && is_digit(text[7]);
    return refuse(well_formed ? Reason::unsupported_version : Reason::bad_request);
  }

  static bool target_form_allowed(const RequestHead& head) noexcept {
    if (head.target.front() == '/') return true;
    if (head.target == "*") return head.method == Method::options;
    return is_absolute_target(head.target);
  }

  Pass status_line(ResponseHead& head) noexcept {
    const LineState state = lines_.next();
    if (state == LineState::bad) return refuse();
    // A beginning that no status line has is refused without waiting for its end.
    const std::string_view line = state == LineState::whole ? lines_.line() : lines_.cut_off_line();
    const std::size_t common = std::min(line.size(), kVersion.size());
    if (line.substr(0, common) != kVersion.substr(0, common)) return refuse();
    if (state == LineState::cut_off) return Pass::first_line_cut_off;
    // "HTTP/1.x nnn", then a blank and the phrase; the blank of an empty phrase is often left out.
    if (line.size() < 12 || (line[7] != '0' && line[7] != '1') || line[8] != ' ') return refuse();
    if (!is_digit(line[9]) || !is_digit(line[10]) || !is_digit(line[11])) return refuse();
    if (line[9] < '1' || line[9] > '5' || (line.size() > 12 && line[12] != ' ')) return refuse();
    minor_ = head.minor = line[7] == '1' ? 1 : 0;
    head.status = static_cast<std::uint16_t>((line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0'));
    head.reason_phrase = line.size() > 13 ? line.substr(13) : std::string_view{};
    return Pass::complete;
  }

  Pass field_section() noexcept {
    Lines lines = lines_;
    for (;;) {
      const LineState state = lines.next();
      if (state == LineState::cut_off) return Pass::fields_cut_off;
      if (state == LineState::bad) return refuse();
      if (lines.line().empty()) break;
      Field field;
      if (!lines.split(field)) return refuse();
      if (const Pass pass = take(field); pass != Pass::complete) return pass;
    }
    size_ = static_cast<std::size_t>(lines.rest() - begin_);
    return Pass::complete;
  }

  Pass take(const Field& field) noexcept {
    const FieldId id = identify_field(field.name);
    switch (id) {
      case FieldId::host: host(field.value); break;
      case FieldId::content_length: {
        bool repeated = false;
        if (const Pass pass = content_length(field.value, repeated); pass != Pass::complete) return pass;
        if (repeated) return Pass::complete;
        break;
      }
      case FieldId::transfer_encoding: transfer_encoding(field.value); break;
      case FieldId::connection:
        if (!connection(field.value)) return refuse_count();
        break;
      case FieldId::expect:
        if (const Pass pass = expect(field.value); pass != Pass::complete) return pass;
        break;
      default: break;
    }
    if (fields_.size() == max_fields_) return refuse_count();
    fields_.push(field, id);
    return Pass::complete;
  }

  void host(std::string_view value) noexcept {
    ++found_.hosts;
    found_.host = value;
  }

  Pass content_length(std::string_view value, bool& repeated) noexcept {
    const std::optional<std::uint64_t> length = parse_length(value);
    if (!length) return refuse();
    repeated = found_.length_seen;
    if (repeated && (is_request_ || *length != found_.length)) return refuse();
    found_.length_seen = true;
    found_.length = *length;
    return Pass::complete;
  }

  /// An empty element makes the list one that nobody honest sends.
  void transfer_encoding(std::string_view list) noexcept {
    found_.coded = true;
    for (;;) {
      const std::size_t comma = list.find(',');
      const std::string_view coding = trimmed(list.substr(0, comma));
      found_.last_is_chunked = spells(coding, "chunked");
      found_.empty_coding = found_.empty_coding || coding.empty();
      if (found_.last_is_chunked) {
        ++found_.chunked_count;
      } else {
        found_.other_coding = true;
      }
      if (comma == std::string_view::npos) return;
      list.remove_prefix(comma + 1);
    }
  }

  /// False when there are more options than there may be fields: each names one.
  bool connection(std::string_view list) noexcept {
    while (!list.empty()) {
      const std::string_view option = next_element(list);
      if (option.empty()) continue;
      if (++found_.options > max_fields_) return false;
      if (spells(option, "keep-alive")) {
        found_.keep_alive = true;
      } else if (spells(option, "close")) {
        found_.close = true;
      } else if (spells(option, "upgrade")) {
        found_.upgrade_option = true;
      } else {
        found_.names_fields = true;
      }
    }
    return true;
  }

  Pass expect(std::string_view value) noexcept {
    if (!is_request_) return Pass::complete;
    if (!spells(value, "100-continue")) return refuse(Reason::expectation_failed);
    found_.expects_continue = true;
    return Pass::complete;
  }

  /// Judges Content-Length and Transfer-Encoding together.
  Pass settle_framing(BodyLength& body) noexcept {
    body = {};
    if (found_.coded) {
      if (found_.length_seen || minor_ == 0) return refuse();
      if (!found_.last_is_chunked || found_.chunked_count > 1 || found_.empty_coding) return refuse();
      if (found_.other_coding) return refuse(Reason::unsupported_transfer_coding);
      body.framing = Framing::chunked;
    } else if (found_.length_seen) {
      body = {Framing::content_length, found_.length};
    } else if (!is_request_) {
      body.framing = Framing::until_close;
    }
    return Pass::complete;
  }

  bool may_keep_alive() const noexcept { return !found_.close && (minor_ == 1 || found_.keep_alive); }

  Pass finish_request(RequestHead& head) noexcept {
    if (const Pass pass = settle_framing(head.body); pass != Pass::complete) return pass;
    if (found_.hosts > 1 || (found_.hosts == 0 && minor_ == 1)) return refuse();
    if (found_.hosts == 1 && !is_valid_authority(found_.host)) return refuse();
    head.host = found_.host;
    head.keep_alive = may_keep_alive();
    const bool body_follows =
        head.body.framing == Framing::chunked || (head.body.framing == Framing::content_length && head.body.bytes > 0);
    // HTTP/1.0 knows no interim responses.
    head.expects_continue = found_.expects_continue && body_follows && minor_ == 1;
    head.upgrade = found_.upgrade_option && minor_ == 1 && fields_.has(FieldId::upgrade);
    head.names_fields = found_.names_fields;
    head.fields = &fields_;
    return Pass::complete;
  }

  Pass finish_response(ResponseHead& head, bool answers_head) noexcept {
    if (const Pass pass = settle_framing(head.body); pass != Pass::complete) return pass;
    if (answers_head || head.status < 200 || head.status == 204 || head.status == 304) head.body = {};
    head.keep_alive = may_keep_alive() && head.body.framing != Framing::until_close;
    head.names_fields = found_.names_fields;
    head.fields = &fields_;
    return Pass::complete;
  }

  const char* const begin_;
  Lines lines_;
  const std::size_t max_fields_;
  const bool is_request_;
  std::uint8_t minor_ = 1;
  FieldList& fields_;
  Gathered found_;
  Reason reason_ = Reason::success;
  std::size_t size_ = 0;
};

/// Whether there is reason to parse again: the end of the first line, the end of the head, or a byte that refuses it.
/// Looks back over at most three bytes, so a head in many pieces is still scanned once.
bool scan(std::string_view bytes, HeadScan& state) noexcept {
  for (std::size_t i = state.scanned; i < bytes.size(); ++i) {
    const char c = bytes[i];
    if (is(kValue, c)) continue;
    if (c == '\r') {
      if (i + 1 == bytes.size()) {
        state.scanned = i;
        return false;
      }
      if (bytes[i + 1] == '\n') continue;
    } else if (c == '\n' && i > 0 && bytes[i - 1] == '\r') {
      const bool empty_line = i > 2 && bytes[i - 2] == '\n';
      if (!empty_line && state.first_line_seen) continue;
      state.first_line_seen = true;
    }
    state.scanned = i + 1;
    return true;
  }
  state.scanned = bytes.size();
  return false;
}

struct SizeReasons {
  Reason first_line;
  Reason fields;
};

HeadVerdict refuse_size(Pass pass, const SizeReasons& reasons) noexcept {
  return {HeadVerdict::State::refused, pass == Pass::first_line_cut_off ? reasons.first_line : reasons.fields, 0};
}

/// Runs `parse` (a pass over the bytes it is given) when it can lead somewhere: at the first bytes of a head, when the
/// scan has found something, and when the limit is reached.
template <class Parse>
HeadVerdict drive(std::string_view bytes, const HeadLimits& limits, HeadScan& scan_state, const SizeReasons& reasons,
                  Parse parse) noexcept {
  const std::string_view head = bytes.substr(0, limits.max_head);
  const bool full = bytes.size() >= limits.max_head;
  const bool worth_it = scan_state.scanned == 0 || scan(head, scan_state);
  if (!worth_it && !full) return {};
  Reason reason = Reason::success;
  std::size_t size = 0;
  const Pass pass = parse(head, reason, size);
  if (pass == Pass::complete) return {HeadVerdict::State::complete, Reason::success, size};
  if (pass == Pass::refused) return {HeadVerdict::State::refused, reason, 0};
  if (full) return refuse_size(pass, reasons);
  // All of it was read, but a CR at the very end waits for its LF. Empty lines before a request line are no first line.
  scan_state.scanned = head.empty() || head.back() != '\r' ? head.size() : head.size() - 1;
  scan_state.first_line_seen = pass == Pass::fields_cut_off;
  return {};
}

}  // namespace

HeadVerdict HeadParser::parse_request(std::string_view bytes, const HeadLimits& limits, HeadScan& scan_state) noexcept {
  const SizeReasons reasons{Reason::uri_too_long, Reason::head_too_large};
  return drive(bytes, limits, scan_state, reasons, [&](std::string_view head, Reason& reason, std::size_t& size) {
    HeadPass pass{head, limits.max_fields, true, fields_};
    const Pass result = pass.request(request_);
    reason = pass.reason();
    size = pass.size();
    return result;
  });
}

HeadVerdict HeadParser::parse_response(std::string_view bytes, const HeadLimits& limits, bool answers_head,
                                       HeadScan& scan_state) noexcept {
  const SizeReasons reasons{Reason::response_head_too_large, Reason::response_head_too_large};
  return drive(bytes, limits, scan_state, reasons, [&](std::string_view head, Reason& reason, std::size_t& size) {
    HeadPass pass{head, limits.max_fields, false, fields_};
    const Pass result = pass.response(response_, answers_head);
    reason = pass.reason();
    size = pass.size();
    return result;
  });
}

}  // namespace outrigger::http
