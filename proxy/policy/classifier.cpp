#include "proxy/policy/classifier.hpp"

#include <algorithm>
#include <charconv>

namespace outrigger::policy {
namespace {

bool has_field(HeaderView fields, const HeaderEquals& wanted) noexcept {
  return std::any_of(fields.begin(), fields.end(), [&](const Field& field) {
    return field.value == wanted.equals && iequals(field.name, wanted.name);
  });
}

std::optional<std::uint32_t> grpc_status_of(HeaderView fields) noexcept {
  const std::optional<std::string_view> text = find_field(fields, "grpc-status");
  if (!text) return std::nullopt;
  std::uint32_t value = 0;
  const char* const end = text->data() + text->size();
  const auto [stopped, error] = std::from_chars(text->data(), end, value);
  return error == std::errc{} && stopped == end ? std::optional{value} : std::nullopt;
}

bool asks_for_response(const ClassifierRule& rule) noexcept { return rule.status || rule.header || rule.grpc_status; }

bool applies(const ClassifierRule& rule, std::string_view method, std::uint16_t status, HeaderView fields) noexcept {
  return !rule.failure && (!rule.method || *rule.method == method) && (!rule.status || rule.status->contains(status)) &&
         (!rule.header || has_field(fields, *rule.header)) &&
         (!rule.grpc_status || rule.grpc_status == grpc_status_of(fields));
}

bool applies(const ClassifierRule& rule, std::string_view method, Reason failure) noexcept {
  return !asks_for_response(rule) && rule.outcome != Outcome::success && (!rule.method || *rule.method == method) &&
         (!rule.failure || *rule.failure == failure);
}

template <class Applies>
Classified first_match(const Classifier& rules, Classification built_in, Applies applies) noexcept {
  const auto rule = std::find_if(rules.begin(), rules.end(), applies);
  if (rule == rules.end()) return {.result = built_in, .by_rule = false, .reason_text = {}};
  return {.result = {rule->outcome, built_in.reason}, .by_rule = true, .reason_text = rule->reason};
}

}  // namespace

Classified classify(const Classifier& rules, std::string_view method, std::uint16_t status,
                    HeaderView fields) noexcept {
  return first_match(rules, classify_status(status),
                     [&](const ClassifierRule& rule) { return applies(rule, method, status, fields); });
}

Classified classify(const Classifier& rules, std::string_view method, Reason failure) noexcept {
  return first_match(rules, classify_fault(failure),
                     [&](const ClassifierRule& rule) { return applies(rule, method, failure); });
}

std::optional<std::string_view> contradiction_in(const ClassifierRule& rule) noexcept {
  if (rule.status && rule.status->empty()) return "the set of statuses is empty";
  if (!rule.failure) return std::nullopt;
  if (!is_transport_failure(*rule.failure)) return "an attempt does not fail for that reason";
  if (asks_for_response(rule)) return "where the transport failed there is no response to ask";
  if (rule.outcome == Outcome::success) return "a failure of the transport cannot be a success: there is no response";
  return std::nullopt;
}

}  // namespace outrigger::policy
