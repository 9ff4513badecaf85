#include <algorithm>
#include <array>

#include "proxy/base/header_view.hpp"
#include "proxy/config/inherit.hpp"
#include "proxy/config/load_instances.hpp"
#include "proxy/config/near_miss.hpp"

namespace outrigger::config {
namespace {

using policy::DeadlineConfig;
using policy::DeadlineHeader;
using policy::RetryConfig;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr std::uint64_t kMaxReplayBytes = 8 * 1024 * 1024;

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
  block.choice("on_invalid", deadline.reject_invalid, kOnInvalid);
}

void read_classifier(Block& retry, const Config& config, std::string& out) {
  Findings& findings = retry.findings();
  const auto value = retry.take("classifier");
  if (!value || !read_text(findings, *value, out, "the name of a classifier")) return;
  if (out == kBuiltinClassifier || config.classifiers.contains(out)) return;
  std::vector<std::string_view> names = {kBuiltinClassifier};
  for (const auto& classifier : config.classifiers) names.push_back(classifier.first);
  findings.error(value->place, value->path, "no classifier of the name \"" + out + "\"", did_you_mean(out, names));
}

void read_backoff(Block& block, policy::BackoffConfig& backoff) {
  block.duration("initial_backoff", backoff.initial, {milliseconds{1}, seconds{30}});
  block.duration("max_backoff", backoff.max, {milliseconds{1}, seconds{30}});
  block.number("backoff_multiplier", backoff.multiplier, {1, 10});
  block.choice("jitter", backoff.jitter, kJitters);
}

void read_retry(Block& block, RetryConfig& retry) {
  block.integer("max_attempts", retry.max_attempts, {1, 10});
  block.duration("timeout_per_attempt", retry.timeout_per_attempt, {milliseconds{1}, hours{1}, kOrZero});
  read_backoff(block, retry.backoff);
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
  block.choice("mode", out.mode, kModes);
  block.block("deadline", "deadline", [&](Block& deadline) { read_deadline(deadline, policy.deadline); });
  block.block("retry", "retry", [&](Block& retry) {
    read_retry(retry, policy.retry.emplace());
    read_classifier(retry, config, out.classifier);
    read_budget_ref(retry, config, policy.key, out.retry_budget);
  });
  block.block("hedge", "hedge", [&](Block& hedge) {
    read_hedge(hedge, out.hedge.emplace());
    const bool retry_has_own = out.retry_budget.kind == BudgetRef::Kind::inline_;
    out.hedge_budget = out.retry_budget;
    read_budget_ref(hedge, config, own_name(policy.key, retry_has_own ? 2 : 1), out.hedge_budget);
  });
  read_instances(block, config, out);
  block.block("fallback", "fallback", [&](Block& fallback) { read_fallback(fallback, out.fallback.emplace()); });
  block.block("cache", "cache", [&](Block& cache) { read_cache(cache, out.cache.emplace()); });
  block.block("chaos", "chaos", [&](Block& chaos) { read_chaos(chaos, out.chaos.emplace()); });
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
