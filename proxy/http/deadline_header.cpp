#include "proxy/http/deadline_header.hpp"

#include <algorithm>
#include <charconv>

#include "proxy/http/chars.hpp"

namespace outrigger::http {
namespace {

constexpr Nanos kLeastWritten = std::chrono::milliseconds{1};
constexpr std::size_t kGrpcDigits = 8;
constexpr std::int64_t kGrpcBeyond = 100'000'000;

struct Unit {
  char letter;
  std::int64_t ns;
};
constexpr std::array<Unit, 6> kUnits = {
    {{'n', 1}, {'u', 1'000}, {'m', 1'000'000}, {'S', 1'000'000'000}, {'M', 60'000'000'000}, {'H', 3'600'000'000'000}}};

/// Digits times a unit, saturating; nullopt unless there are only digits and at least one.
std::optional<Nanos> parse_digits(std::string_view digits, std::int64_t unit_ns) noexcept {
  if (digits.empty()) return std::nullopt;
  std::int64_t value = 0;
  bool overflow = false;
  for (char c : digits) {
    if (!is_digit(c)) return std::nullopt;
    overflow = overflow || __builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, c - '0', &value);
  }
  if (overflow || __builtin_mul_overflow(value, unit_ns, &value)) return kForever;
  return Nanos{value};
}

std::optional<Nanos> parse_grpc(std::string_view value) noexcept {
  if (value.size() < 2 || value.size() > kGrpcDigits + 1) return std::nullopt;
  for (const Unit& unit : kUnits) {
    if (unit.letter == value.back()) return parse_digits(value.substr(0, value.size() - 1), unit.ns);
  }
  return std::nullopt;
}

std::size_t write_number(std::int64_t number, char* out) noexcept {
  return static_cast<std::size_t>(std::to_chars(out, out + kMaxDeadlineText, number).ptr - out);
}

std::size_t write_grpc(Nanos left, char* out) noexcept {
  const std::int64_t ns = left.count();
  // The last unit always fits: 2^63 ns are 2.6 million hours.
  const auto* unit = std::find_if(kUnits.begin(), kUnits.end(), [&](const Unit& u) { return ns / u.ns < kGrpcBeyond; });
  const std::size_t length = write_number(ns / unit->ns, out);
  out[length] = unit->letter;
  return length + 1;
}

}  // namespace

std::optional<DeadlineForm> parse_deadline_form(std::string_view name) noexcept {
  for (DeadlineForm form : kDeadlineForms) {
    if (iequals(name, field_name(field_of(form)))) return form;
  }
  return std::nullopt;
}

std::optional<Nanos> parse_deadline(DeadlineForm form, std::string_view value) noexcept {
  return form == DeadlineForm::grpc_timeout ? parse_grpc(value) : parse_digits(value, 1'000'000);
}

IncomingDeadline incoming_deadline(const FieldList& fields, DeadlineForms accept) noexcept {
  constexpr FieldSet kAny{FieldId::x_request_timeout, FieldId::grpc_timeout, FieldId::x_envoy_expected_rq_timeout_ms};
  IncomingDeadline incoming;
  if (!fields.has_any(kAny)) return incoming;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    for (DeadlineForm form : kDeadlineForms) {
      if (fields.id(i) != field_of(form) || !accept.has(form)) continue;
      const std::optional<Nanos> left = parse_deadline(form, fields[i].value);
      if (left) {
        incoming.left = std::min(incoming.left, *left);
      } else {
        incoming.invalid = true;
      }
    }
  }
  return incoming;
}

std::size_t write_deadline(DeadlineForm form, Nanos left, char* out) noexcept {
  left = std::max(left, kLeastWritten);
  if (form == DeadlineForm::grpc_timeout) return write_grpc(left, out);
  return write_number(left.count() / 1'000'000, out);
}

}  // namespace outrigger::http
