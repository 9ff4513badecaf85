#include "proxy/config/load_blocks.hpp"

namespace outrigger::config {
namespace {

using policy::HedgeConfig;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

void read_trigger(Block& block, HedgeConfig& hedge) {
  const auto value = block.take("trigger");
  std::string text;
  if (!value || !read_text(block.findings(), *value, text, "a percentile")) return;
  const Parsed<double> parsed = parse_percentile(text);
  if (const auto* error = std::get_if<ScalarError>(&parsed)) {
    block.findings().error(value->place, value->path, error->message, error->hint);
  } else {
    hedge.quantile = std::get<double>(parsed);
  }
}

void read_methods(Block& block, HedgeConfig& hedge) {
  const auto value = block.take("methods");
  if (!value) return;
  hedge.methods.clear();
  block.elements(*value, [&](const Value& element, std::size_t) {
    std::string method;
    if (read_method(block.findings(), element, method)) hedge.methods.push_back(std::move(method));
  });
}

}  // namespace

void read_hedge(Block& block, HedgeConfig& hedge) {
  block.integer("max_hedges", hedge.max_hedges, {1, 3});
  if (const auto delay = block.take("delay")) {
    read_duration(block.findings(), *delay, hedge.delay.emplace(), {milliseconds{1}, hours{1}});
  }
  read_trigger(block, hedge);
  if (!hedge.delay && !hedge.quantile) hedge.quantile = 0.95;
  block.integer("min_samples", hedge.min_samples, {1, 1'000'000});
  block.duration("window", hedge.window, {seconds{1}, hours{1}});
  block.duration("min_delay", hedge.min_delay, {milliseconds{1}, hours{1}});
  block.duration("max_delay", hedge.max_delay, {milliseconds{1}, hours{1}});
  read_methods(block, hedge);
  block.boolean("cancel_on_first_terminal", hedge.cancel_on_first_terminal);
}

}  // namespace outrigger::config
