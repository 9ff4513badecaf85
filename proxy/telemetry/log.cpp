#include "proxy/telemetry/log.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include "proxy/base/ensure.hpp"
#include "proxy/telemetry/json_writer.hpp"
#include "proxy/telemetry/wall_time.hpp"

namespace outrigger::telemetry {
namespace {

constexpr int kPassMs = 50;
constexpr std::size_t kBatchBytes = std::size_t{64} * 1024;
constexpr int kLinesPerPass = 8192;  // of one ring, so that a busy worker cannot keep the others waiting
constexpr std::array<std::string_view, 4> kLevelNames = {"debug", "info", "warn", "error"};

enum Tag : std::uint8_t { kAppLine, kAccessLine };

std::shared_ptr<spdlog::sinks::sink> open_sink(const std::string& name) {
  std::shared_ptr<spdlog::sinks::sink> sink;
  if (name == "stderr") {
    sink = std::make_shared<spdlog::sinks::stderr_sink_st>();
  } else {
    sink = std::make_shared<spdlog::sinks::basic_file_sink_st>(name);
  }
  // Lines arrive finished, with their ends.
  sink->set_formatter(std::make_unique<spdlog::pattern_formatter>("%v", spdlog::pattern_time_type::utc, ""));
  return sink;
}

void append_field(JsonWriter& json, const LogField& field) {
  json.key(field.name);
  field.number ? json.number(*field.number) : json.string(field.value);
}

void append_field(Buffer& out, const LogField& field) {
  out.push_back(' ');
  out.append(field.name);
  out.push_back('=');
  field.number ? append_number(out, *field.number) : append_json_string(out, field.value);
}

}  // namespace

std::string_view to_string(LogLevel level) noexcept { return kLevelNames[static_cast<std::size_t>(level)]; }

std::optional<LogLevel> parse_log_level(std::string_view name) noexcept {
  for (std::size_t i = 0; i < kLevelNames.size(); ++i) {
    if (kLevelNames[i] == name) return static_cast<LogLevel>(i);
  }
  return std::nullopt;
}

// ---- writers ----------------------------------------------------------------------------------

LogWriter::LogWriter(Log& log, std::optional<std::uint32_t> worker, std::size_t ring_bytes)
    : log_(log), worker_(worker), ring_(ring_bytes) {}

bool LogWriter::enabled(LogLevel level) const noexcept { return level >= log_.level(); }
bool LogWriter::access_enabled() const noexcept { return !log_.config_.access_file.empty(); }

void LogWriter::write(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) {
  if (!enabled(level)) return;
  const std::int64_t now_us = log_.clock_();
  std::unique_lock lock(mutex_, std::defer_lock);
  if (!worker_) lock.lock();
  const auto left_out = level >= LogLevel::warn ? repeats_.admit(message, now_us) : 0;
  if (!left_out) return;
  line_.clear();
  const LogField repeated{"left_out", static_cast<std::int64_t>(*left_out)};
  if (log_.config_.format == LogFormat::json) {
    JsonWriter json(line_);
    json.open('{');
    json.key("time").time(now_us);
    json.key("level").string(to_string(level));
    if (worker_) json.key("worker").number(*worker_);
    json.key("message").string(message);
    for (const LogField& field : fields) append_field(json, field);
    if (*left_out != 0) append_field(json, repeated);
    json.close('}');
  } else {
    append_rfc3339(line_, now_us);
    line_.push_back(' ');
    line_.append(to_string(level));
    line_.push_back(' ');
    append_json_text(line_, message);
    for (const LogField& field : fields) append_field(line_, field);
    if (*left_out != 0) append_field(line_, repeated);
  }
  push(kAppLine);
}

void LogWriter::access(const exchange::Timeline& timeline) {
  line_.clear();
  append_access_line(line_, log_.config_.format, timeline);
  push(kAccessLine);
}

void LogWriter::push(std::uint8_t tag) {
  ring_.push(tag, line_.view());
  const bool half_full = ring_.half_full();
  if (half_full && !woken_) log_.wake();
  woken_ = half_full;
}

// ---- the log ----------------------------------------------------------------------------------

Log::Log(LogConfig config, std::uint32_t workers, WallClock clock)
    : config_(std::move(config)),
      clock_(clock),
      level_(config_.level),
      wake_fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  ENSURE(wake_fd_ >= 0);
  app_.name = config_.file;
  access_.name = config_.access_file;
  writers_.push_back(std::make_unique<LogWriter>(*this, std::nullopt, config_.ring_bytes));
  for (std::uint32_t i = 0; i < workers; ++i) {
    writers_.push_back(std::make_unique<LogWriter>(*this, i, config_.ring_bytes));
  }
}

Log::~Log() {
  stop();
  close(wake_fd_);
}

std::optional<std::string> Log::open() {
  for (Destination* destination : {&app_, &access_}) {
    if (destination->name.empty()) continue;
    try {
      destination->sink = open_sink(destination->name);
    } catch (const spdlog::spdlog_ex& error) {
      return error.what();
    }
  }
  return std::nullopt;
}

void Log::start() {
  thread_ = std::thread([this] { run(); });
}

void Log::stop() {
  if (thread_.joinable()) {
    stopping_.store(true, std::memory_order_relaxed);
    wake();
    thread_.join();
  }
  while (pump()) {
  }
}

void Log::reopen() noexcept {
  reopen_requested_.store(true, std::memory_order_relaxed);
  wake();
}

std::uint64_t Log::dropped() const noexcept {
  std::uint64_t total = lost_.load(std::memory_order_relaxed);
  for (const auto& writer : writers_) total += writer->ring_.dropped();
  return total;
}

void Log::run() {
  pollfd waiting{wake_fd_, POLLIN, 0};
  while (!stopping_.load(std::memory_order_relaxed)) {
    poll(&waiting, 1, kPassMs);
    std::uint64_t wakes = 0;
    [[maybe_unused]] const auto none_is_fine = read(wake_fd_, &wakes, sizeof wakes);
    pump();
  }
}

void Log::wake() noexcept {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto full_is_fine = write(wake_fd_, &one, sizeof one);
}

bool Log::pump() {
  const bool reopen_after = reopen_requested_.exchange(false, std::memory_order_relaxed);
  bool found = false;
  std::uint8_t tag = 0;
  for (const auto& writer : writers_) {
    for (int lines = 0; lines < kLinesPerPass && writer->ring_.pop(tag, line_); ++lines) {
      Destination& destination = tag == kAccessLine ? access_ : app_;
      destination.batch += line_;
      destination.batch += '\n';
      ++destination.lines;
      if (destination.batch.size() >= kBatchBytes) flush(destination);
      found = true;
    }
  }
  flush(app_);
  flush(access_);
  if (reopen_after) reopen_files();
  return found;
}

/// Writes a batch in one piece; what a full disk refuses is lost and counted.
void Log::flush(Destination& destination) {
  if (destination.lines == 0) return;
  try {
    if (destination.sink) {
      destination.sink->log({"", spdlog::level::info, destination.batch});
      destination.sink->flush();
    }
  } catch (const spdlog::spdlog_ex&) {
    lost_.fetch_add(destination.lines, std::memory_order_relaxed);
  }
  destination.batch.clear();
  destination.lines = 0;
}

void Log::reopen_files() {
  for (Destination* destination : {&app_, &access_}) {
    if (destination->name.empty() || destination->name == "stderr") continue;
    try {
      destination->sink = open_sink(destination->name);
    } catch (const spdlog::spdlog_ex& error) {
      control().write(LogLevel::error, "log file could not be opened anew",
                      {{"error", std::string_view{error.what()}}});
    }
  }
}

}  // namespace outrigger::telemetry
