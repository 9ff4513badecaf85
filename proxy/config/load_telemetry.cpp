#include "proxy/config/load_blocks.hpp"

namespace outrigger::config {
namespace {

constexpr std::size_t kMaxBuckets = 32;

/// A file name, or `stderr`. Standard output carries the ready line and nothing else.
void read_file(Block& block, std::string& out, bool may_be_none) {
  std::string file;
  const auto value = block.take("file");
  if (!value || !read_text(block.findings(), *value, file)) return;
  if (file == "stdout") {
    block.findings().error(value->place, value->path, "must be stderr or a file, got stdout",
                           "standard output carries only the ready line");
    return;
  }
  if (may_be_none && file == "none") file.clear();
  out = file;
}

void read_log(Block& block, LogConfig& log) {
  block.choice("level", log.level, kLogLevels);
  block.choice("format", log.format, kLogFormats);
  read_file(block, log.file, false);
}

void read_access_log(Block& block, AccessLogConfig& access_log) {
  read_file(block, access_log.file, true);
  block.list("headers", [&](const Value& value, std::size_t) {
    std::string name;
    if (read_token(block.findings(), value, name, "a header name")) access_log.headers.push_back(name);
  });
}

void read_buckets(Block& block, TelemetryConfig& telemetry) {
  Findings& findings = block.findings();
  const auto list = block.take("histogram_buckets");
  if (!list) return;
  std::vector<double> bounds;
  block.list("histogram_buckets", [&](const Value& value, std::size_t) {
    double bound = 0;
    if (!read_number(findings, value, bound, {0.000001, 3600})) return;
    if (!bounds.empty() && bound <= bounds.back()) {
      findings.error(value.place, value.path, "must be larger than the one before it");
    }
    bounds.push_back(bound);
  });
  if (list->node->kind != Node::Kind::sequence) return;
  const std::size_t size = list->node->items.size();
  if (size < 1 || size > kMaxBuckets) {
    findings.error(list->place, list->path, "must have between 1 and 32 bounds, got " + std::to_string(size));
  } else {
    telemetry.histogram_buckets_s = std::move(bounds);
  }
}

}  // namespace

void load_telemetry(Block& root, Config& config) {
  TelemetryConfig& telemetry = config.telemetry;
  root.block("telemetry", "telemetry", [&](Block& block) {
    block.block("log", "log", [&](Block& log) { read_log(log, telemetry.log); });
    block.block("access_log", "access_log", [&](Block& log) { read_access_log(log, telemetry.access_log); });
    block.block("timelines", "timelines", [&](Block& timelines) {
      timelines.integer("keep", telemetry.timelines.keep, {1, 100'000});
      timelines.fraction("sample", telemetry.timelines.sample);
      timelines.boolean("log_query", telemetry.timelines.log_query);
    });
    read_buckets(block, telemetry);
  });
}

}  // namespace outrigger::config
