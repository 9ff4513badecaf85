#include "proxy/config/reason_words.hpp"

#include <array>
#include <optional>

#include "proxy/config/near_miss.hpp"
#include "proxy/policy/classifier.hpp"
#include "proxy/policy/reason_groups.hpp"

namespace outrigger::config {
namespace {

using policy::ReasonSet;

constexpr std::string_view kExhausted = "exhausted";

constexpr std::array<std::string_view, 3> kGroups = {"connect_failure", "shed", "timeout"};

/// What a word names; nullopt where it names nothing.
std::optional<ReasonSet> reasons_of(std::string_view word) {
  if (const auto group = policy::reason_group(word)) return group;
  const std::optional<Reason> reason = parse_reason(word);
  if (!reason) return std::nullopt;
  return ReasonSet{*reason};
}

template <class Pick>
ReasonSet picked(Pick&& pick) {
  ReasonSet out;
  for (std::size_t i = 0; i < kReasonCount; ++i) {
    if (pick(static_cast<Reason>(i))) out.insert(static_cast<Reason>(i));
  }
  return out;
}

ReasonSet transport_failures() { return picked(policy::is_transport_failure); }

/// What an attempt may be counted as failed for; a deadline is its request's, but the attempt may have used it up.
ReasonSet attempt_failures() {
  ReasonSet out = transport_failures();
  out.insert(Reason::overall_timeout);
  return out;
}

bool contains_all(const ReasonSet& set, const ReasonSet& part) {
  return part == picked([&](Reason reason) { return part.contains(reason) && set.contains(reason); });
}

void insert_all(ReasonSet& set, const ReasonSet& part) {
  set = picked([&](Reason reason) { return set.contains(reason) || part.contains(reason); });
}

std::vector<std::string_view> names_of(const ReasonSet& reasons) {
  std::vector<std::string_view> names;
  for (std::size_t i = 0; i < kReasonCount; ++i) {
    if (reasons.contains(static_cast<Reason>(i))) names.push_back(kReasons[i].name);
  }
  return names;
}

bool is_status_word(std::string_view word) { return !word.empty() && word[0] >= '0' && word[0] <= '9'; }

void refuse(Findings& findings, const Value& value, std::string_view what, const std::string& word,
            const std::vector<std::string_view>& known) {
  findings.error(value.place, value.path, "must be " + std::string(what) + ", got \"" + word + "\"",
                 did_you_mean(word, known));
}

void read_failure(Findings& findings, const Value& value, ReasonSet& reasons, policy::StatusSet& statuses) {
  if (is_status_word(value.node->text)) {
    if (!read_statuses(findings, value, statuses)) return;
    const auto parsed = parse_statuses(value.node->text);
    if (std::get<StatusRange>(parsed).first < 500) {
      findings.warning(value.place, value.path,
                       "statuses below 500 are not the upstream's failure: what clients do wrong opens the circuit");
    }
    return;
  }
  std::string word;
  if (!read_text(findings, value, word, "a reason or a status")) return;
  const ReasonSet known = attempt_failures();
  const std::optional<ReasonSet> meant = reasons_of(word);
  if (!meant || !contains_all(known, *meant)) {
    std::vector<std::string_view> names = names_of(known);
    names.push_back(kGroups[0]);
    return refuse(findings, value, "a failure of an attempt, connect_failure or a status", word, names);
  }
  insert_all(reasons, *meant);
  // A head that is too large is one way to break the protocol; whoever counts the one means the other.
  if (reasons.contains(Reason::protocol_error)) reasons.insert(Reason::response_head_too_large);
}

/// Why a fallback is never asked about a reason; empty where it may be.
std::string_view never_asked(Reason reason) {
  if (reason == Reason::success) return "a success needs no fallback";
  if (reason < Reason::deadline_too_short && info(reason).status != 0 && reason != Reason::body_timeout &&
      reason != Reason::body_too_large) {
    return "it is decided before the policy is known";
  }
  const bool of_attempt =
      std::string_view(to_string(reason)).starts_with("http_") && reason != Reason::http_non_idempotent;
  if (info(reason).status == 0 && !of_attempt) return "it is not the reason of an answer";
  return {};
}

void read_occasion(Findings& findings, const Value& value, policy::FallbackConfig& rule) {
  if (is_status_word(value.node->text)) {
    read_statuses(findings, value, rule.statuses);
    return;
  }
  std::string word;
  if (!read_text(findings, value, word, "a reason or a status")) return;
  if (word == kExhausted) {
    rule.exhausted = true;
    return;
  }
  const std::optional<ReasonSet> meant = reasons_of(word);
  if (!meant) {
    std::vector<std::string_view> names = {kExhausted};
    names.insert(names.end(), kGroups.begin(), kGroups.end());
    for (const ReasonInfo& reason : kReasons) names.push_back(reason.name);
    return refuse(findings, value, "a reason, exhausted, shed, timeout, connect_failure or a status", word, names);
  }
  insert_all(rule.reasons, *meant);
  const std::optional<Reason> reason = parse_reason(word);
  if (const std::string_view why = reason ? never_asked(*reason) : ""; !why.empty()) {
    findings.warning(value.place, value.path, "never happens: " + std::string(why));
  }
}

void refuse_empty(Findings& findings, const Value& list) {
  if (list.node->kind != Node::Kind::sequence || !list.node->items.empty()) return;
  findings.error(list.place, list.path, "must have at least one reason or status");
}

}  // namespace

void read_failures(Block& block, std::string_view key, ReasonSet& reasons, policy::StatusSet& statuses) {
  const auto list = block.take(key);
  if (!list) return;
  refuse_empty(block.findings(), *list);
  reasons = {};
  statuses = {};
  block.elements(*list,
                 [&](const Value& value, std::size_t) { read_failure(block.findings(), value, reasons, statuses); });
}

void read_occasions(Block& block, std::string_view key, policy::FallbackConfig& rule) {
  const auto list = block.require(key);
  if (!list) return;
  refuse_empty(block.findings(), *list);
  block.elements(*list, [&](const Value& value, std::size_t) { read_occasion(block.findings(), value, rule); });
}

bool read_fault(Findings& findings, const Value& value, Reason& out) {
  std::string word;
  if (!read_text(findings, value, word, "the way an attempt fails")) return false;
  const std::optional<Reason> reason = parse_reason(word);
  if (!reason || !policy::is_transport_failure(*reason)) {
    refuse(findings, value, "the way an attempt fails", word, names_of(transport_failures()));
    return false;
  }
  out = *reason;
  return true;
}

std::vector<std::string> format_reasons(const ReasonSet& reasons) {
  std::vector<std::string> out;
  ReasonSet told;
  for (const std::string_view name : kGroups) {
    const ReasonSet group = *policy::reason_group(name);
    if (!contains_all(reasons, group)) continue;
    out.emplace_back(name);
    insert_all(told, group);
  }
  for (const std::string_view name : names_of(reasons)) {
    if (!told.contains(*parse_reason(name))) out.emplace_back(name);
  }
  return out;
}

}  // namespace outrigger::config
