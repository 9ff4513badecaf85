// proxy/telemetry/log.hpp
//
// Logging that cannot slow a request down: a worker formats a line into its own bounded ring and goes on; one thread
// empties all rings every 50 ms, or when one is half full, and writes what it found in one piece through spdlog's
// sinks. A full ring drops the line and counts it. Workers never touch spdlog: a slow disk or a full pipe must not
// reach them.
//
// The application log (format and level as configured) and the access log may have different destinations. Warnings and
// errors that repeat are limited per message and worker; the next one written says how many were left out.
//
// Threads: `worker(i)` belongs to worker i; `control()` may be used by any thread; the rest by the control thread.
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "proxy/base/buffer.hpp"
#include "proxy/telemetry/access_log.hpp"
#include "proxy/telemetry/line_ring.hpp"
#include "proxy/telemetry/repeat_limit.hpp"

namespace spdlog::sinks {
class sink;
}

namespace outrigger::telemetry {

enum class LogLevel : std::uint8_t { debug, info, warn, error };
std::string_view to_string(LogLevel level) noexcept;
std::optional<LogLevel> parse_log_level(std::string_view name) noexcept;

/// A named value of a line.
struct LogField {
  LogField(std::string_view field_name, std::string_view text) noexcept : name(field_name), value(text) {}
  template <std::integral Whole>
  LogField(std::string_view field_name, Whole whole) noexcept
      : name(field_name), number(static_cast<std::int64_t>(whole)) {}

  std::string_view name;
  std::string_view value;
  std::optional<std::int64_t> number;
};

struct LogConfig {
  LogLevel level = LogLevel::info;
  LogFormat format = LogFormat::json;
  std::string file = "stderr";
  std::string access_file = {};  // empty: no access log
  std::size_t ring_bytes = std::size_t{256} * 1024;
};

/// Microseconds of Unix time.
using WallClock = std::int64_t (*)();

class Log;

/// Where one producer writes its lines.
class LogWriter {
 public:
  LogWriter(Log& log, std::optional<std::uint32_t> worker, std::size_t ring_bytes);

  bool enabled(LogLevel level) const noexcept;
  /// Writes a line of the application log; `message` is a fixed text, what varies goes into fields.
  void write(LogLevel level, std::string_view message, std::initializer_list<LogField> fields = {});
  /// Whether lines of the access log are wanted.
  bool access_enabled() const noexcept;
  /// Formats and writes the line of a finished request.
  void access(const exchange::Timeline& timeline);

 private:
  friend class Log;
  void push(std::uint8_t tag);

  Log& log_;
  std::optional<std::uint32_t> worker_;  // absent: shared by other threads, under the mutex
  std::mutex mutex_;
  Buffer line_;
  RepeatLimit repeats_;
  bool woken_ = false;  // the thread knows that this ring is half full
  LineRing ring_;
};

class Log {
 public:
  Log(LogConfig config, std::uint32_t workers, WallClock clock);
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  /// Opens the destinations; an error text where one cannot be opened.
  std::optional<std::string> open();
  /// Starts the thread; until then nothing is written unless `pump` is called.
  void start();
  /// Writes what is left and ends the thread; lines written after it are lost.
  void stop();

  LogWriter& worker(std::uint32_t index) noexcept { return *writers_[index + 1]; }
  LogWriter& control() noexcept { return *writers_[0]; }

  LogLevel level() const noexcept { return level_.load(std::memory_order_relaxed); }
  void set_level(LogLevel level) noexcept { level_.store(level, std::memory_order_relaxed); }
  /// Opens the files anew after they were moved away; takes effect with the next pass.
  void reopen() noexcept;
  /// How many lines were lost, to full rings or to a destination that failed.
  std::uint64_t dropped() const noexcept;

  /// One pass: empties the rings and writes, as the thread does all the time; true where there was anything.
  bool pump();

 private:
  friend class LogWriter;
  using Sink = std::shared_ptr<spdlog::sinks::sink>;
  struct Destination {
    std::string name;
    Sink sink;
    std::string batch;
    std::uint64_t lines = 0;
  };

  void run();
  void wake() noexcept;
  void flush(Destination& destination);
  void reopen_files();

  const LogConfig config_;
  const WallClock clock_;
  std::atomic<LogLevel> level_;
  std::vector<std::unique_ptr<LogWriter>> writers_;  // of the control thread, then of the workers
  Destination app_;
  Destination access_;
  std::string line_;  // the one being moved from a ring to a batch
  int wake_fd_ = -1;
  std::atomic<bool> reopen_requested_{false};
  std::atomic<bool> stopping_{false};
  std::atomic<std::uint64_t> lost_{0};  // by destinations
  std::thread thread_;
};

}  // namespace outrigger::telemetry
