#include <algorithm>
#include <array>

#include "proxy/base/header_view.hpp"
#include "proxy/config/inherit.hpp"
#include "proxy/config/load_blocks.hpp"
#include "proxy/config/near_miss.hpp"
#include "proxy/config/not_yet.hpp"

namespace outrigger::config {
namespace {

using policy::DeadlineConfig;
using policy::DeadlineHeader;
using policy::Jitter;
using policy::RetryConfig;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr std::uint64_t kMaxReplayBytes = 8 * 1024 * 1024;

constexpr std::array<std::string_view, 3> kDeadlineHeaders = {"X-Request-Timeout", "Grpc-Timeout",
                                                              "X-Envoy-Expected-Rq-Timeout-Ms"};

void read_deadline_headers(Block& block, std::string_view key, std::vector<DeadlineHeader>& out) {
  if (!block.take(key)) return;
  out.clear();
  block.list(key, [&](const Value& value, std::size_t) {
    std::string name;
    if (!read_token(block.findings(), value, name, "a deadline header")) return;
    const auto found = std::find_if(kDeadlineHeaders.begin(), kDeadlineHeaders.end(),
                                    [&](std::string_view known) { return iequals(known, name); });
    if (found == kDeadlineHeaders.end()) {
      block.findings().error(value.place, value.path, "must be a deadline header, got \"" + name + "\"",
                             "X-Request-Timeout, Grpc-Timeout or X-Envoy-Expected-Rq-Timeout-Ms");
      return;
    }
    const auto header = static_cast<DeadlineHeader>(found - kDeadlineHeaders.begin());
    if (std::find(out.begin(), out.end(), header) == out.end()) out.push_back(header);
  });
}

void read_deadline(Block& block, DeadlineConfig& deadline) {
  read_deadline_headers(block, "accept", deadline.accept);
  read_deadline_headers(block, "forward", deadline.forward);
  block.duration("min_remaining", deadline.min_remaining, {Nanos{0}, minutes{1}});
  block.duration("margin", deadline.margin, {Nanos{0}, minutes{1}});
  block.choice("on_invalid", deadline.reject_invalid, {{"ignore", false}, {"reject", true}});
}

/// One of the root's `budgets`, by name.
void refer_to_budget(Findings& findings, const Value& value, const Config& config, BudgetRef& budget) {
  if (!read_text(findings, value, budget.name, "the name of a budget")) return;
  budget.kind = BudgetRef::Kind::named;
  if (const auto found = config.budgets.find(budget.name); found != config.budgets.end()) {
    budget.config = found->second;
    return;
  }
  std::vector<std::string_view> names = {"default", "none"};
  for (const auto& named : config.budgets) names.push_back(named.first);
  findings.error(value.place, value.path, "no budget of the name \"" + budget.name + "\"",
                 did_you_mean(budget.name, names));
}

void read_named_budget(Block& block, const Config& config, BudgetRef& budget) {
  if (const auto name = block.require("name")) refer_to_budget(block.findings(), *name, config, budget);
  const auto cost = block.take("cost");
  if (!cost) return;
  if (budget.config.type == policy::BudgetType::token_bucket) {
    read_number(block.findings(), *cost, budget.cost, {1, budget.config.capacity});
  } else if (config.budgets.contains(budget.name)) {
    block.findings().error(cost->place, cost->path, "only extra attempts of a token_bucket have a cost");
  }
}

void read_budget_ref(Block& retry, const Config& config, const std::string& policy_key, BudgetRef& budget) {
  Findings& findings = retry.findings();
  const auto value = retry.take("budget");
  if (!value) return;
  if (value->node->kind == Node::Kind::map) {
    retry.block("budget", "budget", [&](Block& block) {
      if (block.has("name")) return read_named_budget(block, config, budget);
      budget.kind = BudgetRef::Kind::inline_;
      budget.name = policy_key;
      read_budget(block, budget.config, &budget.cost);
    });
  } else if (value->node->text == "none") {
    budget = {BudgetRef::Kind::unlimited, "none", 1, {policy::BudgetType::unlimited}};
  } else if (value->node->text != "default") {
    refer_to_budget(findings, *value, config, budget);
  }
}

void read_classifier(Block& retry) {
  std::string name;
  const auto value = retry.take("classifier");
  if (!value || !read_text(retry.findings(), *value, name, "the name of a classifier") || name == "http") return;
  retry.findings().error(value->place, value->path,
                         is_not_yet("retry", "classifier") ? "classifiers other than http are not supported yet"
                                                           : "no classifier of the name \"" + name + "\"");
}

void read_backoff(Block& block, policy::BackoffConfig& backoff) {
  block.duration("initial_backoff", backoff.initial, {milliseconds{1}, seconds{30}});
  block.duration("max_backoff", backoff.max, {milliseconds{1}, seconds{30}});
  block.number("backoff_multiplier", backoff.multiplier, {1, 10});
  block.choice("jitter", backoff.jitter,
               {{"full", Jitter::full},
                {"equal", Jitter::equal},
                {"decorrelated", Jitter::decorrelated},
                {"none", Jitter::none}});
}

void read_retry(Block& block, RetryConfig& retry) {
  block.integer("max_attempts", retry.max_attempts, {1, 10});
  block.duration("timeout_per_attempt", retry.timeout_per_attempt, {milliseconds{1}, hours{1}, kOrZero});
  read_backoff(block, retry.backoff);
  read_classifier(block);
  block.size("replay_buffer", retry.replay_buffer_bytes, {0, kMaxReplayBytes});
  block.boolean("non_idempotent", retry.non_idempotent);
  block.token("idempotency_key", retry.idempotency_key, "a header name");
  block.block("retry_after", "retry_after", [&](Block& retry_after) {
    retry_after.boolean("honor", retry.retry_after.honor);
    retry_after.duration("max", retry.retry_after.max, {Nanos{0}, hours{1}});
  });
  block.boolean("avoid_previous_endpoint", retry.avoid_previous_endpoint);
}

void read_policy(Block& block, const Config& config, PolicyConfig& out) {
  policy::Policy& policy = out.policy;
  block.text("id", policy.id);
  block.duration("overall_timeout", policy.overall_timeout, {milliseconds{1}, hours{1}, kOrZero});
  block.duration("max_duration", policy.max_duration, {milliseconds{1}, hours{24}, kOrZero});
  bool observe = false;
  block.choice("mode", observe, {{"enforce", false}, {"observe", true}});
  block.block("deadline", "deadline", [&](Block& deadline) { read_deadline(deadline, policy.deadline); });
  block.block("retry", "retry", [&](Block& retry) {
    read_retry(retry, policy.retry.emplace());
    read_budget_ref(retry, config, policy.key, out.retry_budget);
  });
}

}  // namespace

void load_policies(Block& root, Config& config) {
  Findings& findings = root.findings();
  const auto policies = root.take("policies");
  const Inheritance inheritance(findings, policies ? &*policies : nullptr);
  root.each("policies", [&](const std::string& key, const Value& value, const Place& at) {
    const ScalarError bad_key = check_policy_key(key);
    if (!bad_key.message.empty()) findings.error(at, value.path, bad_key.message, bad_key.hint);
    PolicyConfig& policy = config.policies[key];
    policy.policy.key = key;
    policy.at = findings.position(at);
    const Entry* const extends = value.node->find("extends");
    const bool inherits = extends != nullptr && extends->value->kind != Node::Kind::null;
    Block block(findings, "policy", {inheritance.effective(key, value.node), value.path, value.place}, inherits);
    block.text("extends", policy.extends);
    read_policy(block, config, policy);
    block.finish();
  });
  config.policies["default"].policy.key = "default";
}

}  // namespace outrigger::config
