#include "proxy/config/load_blocks.hpp"

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
  block.choice("type", budget.type,
               {{"ratio", BudgetType::ratio},
                {"window", BudgetType::window},
                {"token_bucket", BudgetType::token_bucket},
                {"success_credit", BudgetType::success_credit},
                {"unlimited", BudgetType::unlimited}});
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

}  // namespace

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
