#include "proxy/config/load_blocks.hpp"
#include "proxy/config/near_miss.hpp"

namespace outrigger::config {
namespace {

using policy::BudgetConfig;
using policy::BudgetType;

constexpr double kMillion = 1e6;

void require_number(Block& block, std::string_view key, double& out, Range<double> range) {
  if (const auto value = block.require(key)) read_number(block.findings(), *value, out, range);
}

/// What one extra attempt costs: a bucket that never holds as much would admit none.
void read_price(Block& block, std::string_view key, double& out, double capacity) {
  block.number(key, out, {1, capacity});
}

void read_type(Block& block, BudgetConfig& budget) {
  if (!block.require("type")) return;
  block.choice("type", budget.type, kBudgetTypes);
}

void read_success_credit(Block& block, BudgetConfig& budget) {
  budget.min_per_second = 0;
  block.number("capacity", budget.capacity, {1, kMillion});
  if (budget.capacity < budget.retry_cost && !block.has("retry_cost")) {
    block.findings().error(block.place(), join_path(block.path(), "capacity"),
                           "must not be below retry_cost, which is 5 by default", "give retry_cost");
  }
  read_price(block, "retry_cost", budget.retry_cost, budget.capacity);
  block.number("success_credit", budget.success_credit, {0, budget.capacity});
  block.number("min_per_second", budget.min_per_second, {0, kMillion});
}

/// Reads a budget's keys. `cost`: where the block may say what an extra attempt takes, else nullptr.
void read_budget(Block& block, BudgetConfig& budget, double* cost) {
  read_type(block, budget);
  switch (budget.type) {
    case BudgetType::ratio:
      block.fraction("max_rate", budget.max_rate);
      block.integer("min_concurrency", budget.min_concurrency, {0, 100'000});
      break;
    case BudgetType::window:
      block.fraction("max_rate", budget.max_rate);
      block.number("min_per_second", budget.min_per_second, {0, kMillion});
      block.duration("window", budget.window, {std::chrono::seconds{1}, std::chrono::hours{1}});
      break;
    case BudgetType::token_bucket:
      require_number(block, "capacity", budget.capacity, {1, kMillion});
      require_number(block, "refill_per_second", budget.refill_per_second, {0, kMillion});
      if (cost != nullptr) read_price(block, "cost", *cost, budget.capacity);
      break;
    case BudgetType::success_credit: read_success_credit(block, budget); break;
    case BudgetType::unlimited: break;
  }
}

/// A built-in one or one of the root's `budgets`, by name.
void refer_to_budget(Findings& findings, const Value& value, const Config& config, BudgetRef& budget) {
  budget = {};
  if (value.node->text == "default") return;
  if (value.node->text == "none") {
    budget = {BudgetRef::Kind::unlimited, "none", 1, {BudgetType::unlimited}};
    return;
  }
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
  } else if (budget.kind != BudgetRef::Kind::named || config.budgets.contains(budget.name)) {
    block.findings().error(cost->place, cost->path, "only extra attempts of a token_bucket have a cost");
  }
}

}  // namespace

void read_budget_ref(Block& block, const Config& config, const std::string& own_name, BudgetRef& budget) {
  Findings& findings = block.findings();
  const auto value = block.take("budget");
  if (!value) return;
  if (value->node->kind == Node::Kind::map) {
    budget = {};
    block.inner(*value, "budget", [&](Block& inner) {
      if (inner.has("name")) return read_named_budget(inner, config, budget);
      budget.kind = BudgetRef::Kind::inline_;
      budget.name = own_name;
      read_budget(inner, budget.config, &budget.cost);
    });
  } else {
    refer_to_budget(findings, *value, config, budget);
  }
}

void load_budgets(Block& root, Config& config) {
  Findings& findings = root.findings();
  root.each("budgets", [&](const std::string& name, const Value& value, const Place& at) {
    const bool good = accept_name(findings, at, value.path, name);
    if (good && (name == "default" || name == "none")) {
      findings.error(at, value.path, "\"" + name + "\" is built in and cannot be defined", "choose another name");
    }
    Block block(findings, "budget", value);
    BudgetConfig budget;
    read_budget(block, budget, nullptr);
    block.finish();
    config.budgets.emplace(name, budget);
  });
}

}  // namespace outrigger::config
