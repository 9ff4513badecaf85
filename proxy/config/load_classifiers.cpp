#include "proxy/config/load_blocks.hpp"
#include "proxy/config/reason_words.hpp"

namespace outrigger::config {
namespace {

using policy::ClassifierRule;

constexpr std::size_t kMaxRules = 100;

void read_status_condition(Block& block, ClassifierRule& rule) {
  const auto value = block.take("status");
  if (!value) return;
  policy::StatusSet& statuses = rule.status.emplace();
  const auto add = [&](const Value& word, std::size_t) { read_statuses(block.findings(), word, statuses); };
  if (value->node->kind == Node::Kind::sequence) {
    block.elements(*value, add);
  } else {
    add(*value, 0);
  }
}

void read_when(Block& block, ClassifierRule& rule) {
  Findings& findings = block.findings();
  read_status_condition(block, rule);
  if (const auto method = block.take("method")) read_method(findings, *method, rule.method.emplace());
  block.block("header", "classifier_header", [&](Block& header) {
    policy::HeaderEquals& condition = rule.header.emplace();
    if (const auto name = header.require("name")) read_token(findings, *name, condition.name, "a header name");
    if (const auto equals = header.require("equals")) read_text(findings, *equals, condition.equals);
  });
  if (block.has("grpc_status")) block.integer("grpc_status", rule.grpc_status.emplace(), {0, 16});
  if (const auto failure = block.take("failure")) read_fault(findings, *failure, rule.failure.emplace());
  if (!rule.failure && !rule.status && !rule.header && !rule.grpc_status && !rule.method) {
    findings.error(block.place(), block.path(), "must have a condition",
                   "one or more of status, method, header, grpc_status, failure");
  }
}

void read_reason(Block& block, ClassifierRule& rule) {
  const auto value = block.take("reason");
  if (!value || !read_text(block.findings(), *value, rule.reason) || policy::is_reason_name(rule.reason)) return;
  block.findings().error(value->place, value->path, "is not a reason: \"" + rule.reason + "\"",
                         "a small letter, then up to 39 small letters, digits and _");
}

void read_rule(Block& block, ClassifierRule& rule) {
  if (block.require("when")) block.block("when", "when", [&](Block& when) { read_when(when, rule); });
  if (block.require("outcome")) block.choice("outcome", rule.outcome, kOutcomes);
  read_reason(block, rule);
  if (!block.findings().sound(block.path())) return;
  if (const auto why = policy::contradiction_in(rule)) {
    block.findings().error(block.place(), block.path(), "never applies: " + std::string(*why));
  }
}

}  // namespace

void load_classifiers(Block& root, Config& config) {
  Findings& findings = root.findings();
  root.each("classifiers", [&](const std::string& name, const Value& value, const Place& at) {
    if (accept_name(findings, at, value.path, name) && name == kBuiltinClassifier) {
      findings.error(at, value.path, "\"http\" is built in and cannot be defined", "choose another name");
    }
    policy::Classifier& rules = config.classifiers[name];
    const std::size_t size = value.node->items.size();
    if (value.node->kind == Node::Kind::sequence && (size < 1 || size > kMaxRules)) {
      findings.error(value.place, value.path, "must have between 1 and 100 rules, got " + std::to_string(size));
    }
    root.elements(value, [&](const Value& element, std::size_t) {
      Block block(findings, "classifier_rule", element);
      read_rule(block, rules.emplace_back());
      block.finish();
    });
  });
}

}  // namespace outrigger::config
