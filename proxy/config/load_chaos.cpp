#include "proxy/config/load_blocks.hpp"

namespace outrigger::config {
namespace {

using policy::ChaosAbort;
using policy::ChaosDelay;
using std::chrono::hours;
using std::chrono::milliseconds;

void read_probability(Block& block, double& out) {
  if (block.require("probability")) block.fraction("probability", out);
}

void read_time(Block& block, std::string_view key, Nanos& out) {
  if (const auto value = block.require(key)) {
    read_duration(block.findings(), *value, out, {milliseconds{1}, hours{1}});
  }
}

void read_delay(Block& block, ChaosDelay& delay) {
  read_probability(block, delay.probability);
  const auto fixed = block.take("fixed");
  const auto min = block.take("min");
  const auto max = block.take("max");
  if (fixed && (min || max)) {
    block.findings().error(fixed->place, fixed->path, "a delay is either fixed or between min and max",
                           block.null_removes() ? "null removes an inherited key" : "");
  } else if (fixed) {
    read_time(block, "fixed", delay.min);
    delay.max = delay.min;
  } else if (!min && !max) {
    block.findings().error(block.place(), block.path(), "must have fixed, or min and max");
  } else {
    read_time(block, "min", delay.min);
    read_time(block, "max", delay.max);
    if (min && max && delay.max < delay.min) {
      block.findings().error(max->place, max->path, "must not be below min (" + format_duration(delay.min) + ")");
    }
  }
}

void read_abort(Block& block, ChaosAbort& abort) {
  read_probability(block, abort.probability);
  const auto kind = block.take("kind");
  const auto status = block.take("status");
  if (kind && status) {
    block.findings().error(kind->place, kind->path, "an abort has either a status or a kind",
                           block.null_removes() ? "null removes an inherited key" : "");
  }
  std::uint64_t number = abort.status;
  if (status && read_integer(block.findings(), *status, number, {200, 599})) {
    abort.status = static_cast<std::uint16_t>(number);
  }
  if (!kind) return;
  bool truncate = false;
  block.choice("kind", truncate, kChaosKinds);
  abort.kind = truncate ? ChaosAbort::Kind::truncate : ChaosAbort::Kind::reset;
}

void read_until(Block& block, policy::ChaosConfig& chaos) {
  const auto value = block.take("until");
  std::string text;
  if (!value || !read_text(block.findings(), *value, text, "an RFC 3339 time")) return;
  const Parsed<std::int64_t> parsed = parse_timestamp(text);
  if (const auto* error = std::get_if<ScalarError>(&parsed)) {
    block.findings().error(value->place, value->path, error->message, error->hint);
  } else {
    chaos.until_us = std::get<std::int64_t>(parsed);
  }
}

}  // namespace

void read_chaos(Block& block, ChaosBlock& out) {
  policy::ChaosConfig& chaos = out.chaos;
  if (const auto seed = block.take("seed")) read_integer(block.findings(), *seed, chaos.seed, {0, UINT64_MAX});
  block.block("match", "match", [&](Block& match) { read_match(match, out.match); });
  block.block("delay", "chaos_delay", [&](Block& delay) { read_delay(delay, chaos.delay.emplace()); });
  block.block("abort", "chaos_abort", [&](Block& abort) { read_abort(abort, chaos.abort.emplace()); });
  read_until(block, chaos);
}

}  // namespace outrigger::config
