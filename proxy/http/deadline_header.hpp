// proxy/http/deadline_header.hpp
//
// Deadlines as they travel between processes: time left, never a point in time, since clocks of two machines differ.
//
// Source: gRPC over HTTP/2, "Timeout"; Envoy's router reference for X-Envoy-Expected-Rq-Timeout-Ms.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "proxy/base/time.hpp"
#include "proxy/http/field_list.hpp"

namespace outrigger::http {

enum class DeadlineForm : std::uint8_t {
  x_request_timeout,               // milliseconds, digits
  grpc_timeout,                    // 1 to 8 digits and one of H M S m u n
  x_envoy_expected_rq_timeout_ms,  // milliseconds, digits
};
inline constexpr std::array kDeadlineForms = {DeadlineForm::x_request_timeout, DeadlineForm::grpc_timeout,
                                              DeadlineForm::x_envoy_expected_rq_timeout_ms};

/// A set of forms, as `deadline.accept` and `deadline.forward` have them.
class DeadlineForms {
 public:
  constexpr void insert(DeadlineForm form) noexcept { bits_ = static_cast<std::uint8_t>(bits_ | bit(form)); }
  constexpr bool has(DeadlineForm form) const noexcept { return (bits_ & bit(form)) != 0; }
  constexpr bool empty() const noexcept { return bits_ == 0; }
  static constexpr DeadlineForms all() noexcept {
    DeadlineForms forms;
    for (DeadlineForm form : kDeadlineForms) forms.insert(form);
    return forms;
  }

 private:
  static constexpr std::uint8_t bit(DeadlineForm form) noexcept {
    return static_cast<std::uint8_t>(1u << static_cast<unsigned>(form));
  }
  std::uint8_t bits_ = 0;
};

constexpr FieldId field_of(DeadlineForm form) noexcept {
  switch (form) {
    case DeadlineForm::x_request_timeout: return FieldId::x_request_timeout;
    case DeadlineForm::grpc_timeout: return FieldId::grpc_timeout;
    case DeadlineForm::x_envoy_expected_rq_timeout_ms: break;
  }
  return FieldId::x_envoy_expected_rq_timeout_ms;
}

/// The form whose field has that name, ignoring case; nullopt for a name that is none.
std::optional<DeadlineForm> parse_deadline_form(std::string_view field_name) noexcept;

/// Reads one value as time left, saturating at kForever.
/// Errors: nullopt for an empty value, a sign, a fraction, an unknown unit, or too many digits in the gRPC form.
std::optional<Nanos> parse_deadline(DeadlineForm form, std::string_view value) noexcept;

struct IncomingDeadline {
  Nanos left = kForever;  // the shortest of those that could be read
  bool invalid = false;   // at least one could not
};

/// Reads the accepted deadline fields of a request.
IncomingDeadline incoming_deadline(const FieldList& fields, DeadlineForms accept) noexcept;

/// Longest value that `write_deadline` writes.
inline constexpr std::size_t kMaxDeadlineText = 20;

/// Writes a value without its field name and returns its length; what is less than a millisecond as one. Millisecond
/// forms are rounded down; the gRPC form takes the finest unit that fits its 8 digits.
std::size_t write_deadline(DeadlineForm form, Nanos left, char* out) noexcept;

}  // namespace outrigger::http
