#include "proxy/telemetry/log.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "tests/unit/telemetry/sample_timeline.hpp"

using namespace outrigger;
using namespace outrigger::telemetry;

namespace {

std::int64_t noon() { return 1'714'564'800'000'000; }  // 2024-05-01T12:00:00Z

/// A folder that goes with the test.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "outrigger-log-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

std::string content(const std::string& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::size_t line_count(const std::string& text) { return static_cast<std::size_t>(std::ranges::count(text, '\n')); }

}  // namespace

TEST_SUITE("telemetry") {
  TEST_CASE("a line of a worker is one JSON object with its fields") {
    const Folder folder;
    Log log({.file = folder.file("app")}, 2, noon);
    REQUIRE_FALSE(log.open().has_value());
    log.worker(1).write(LogLevel::warn, "endpoint left", {{"endpoint", "127.0.0.1:9001"}, {"failures", 3}});
    CHECK(content(folder.file("app")).empty());
    CHECK(log.pump());
    CHECK(content(folder.file("app")) ==
          R"({"time":"2024-05-01T12:00:00.000000Z","level":"warn","worker":1,"message":"endpoint left",)"
          R"("endpoint":"127.0.0.1:9001","failures":3})"
          "\n");
    CHECK_FALSE(log.pump());
  }

  TEST_CASE("a text line quotes what it was given") {
    const Folder folder;
    Log log({.format = LogFormat::text, .file = folder.file("app")}, 1, noon);
    REQUIRE_FALSE(log.open().has_value());
    log.control().write(LogLevel::info, "reloaded", {{"source", "a\nb"}});
    log.pump();
    CHECK(content(folder.file("app")) == "2024-05-01T12:00:00.000000Z info reloaded source=\"a\\u000ab\"\n");
  }

  TEST_CASE("lines below the level are not written, and the level can be changed while running") {
    const Folder folder;
    Log log({.level = LogLevel::warn, .file = folder.file("app")}, 1, noon);
    REQUIRE_FALSE(log.open().has_value());
    log.worker(0).write(LogLevel::info, "quiet");
    log.set_level(*parse_log_level("debug"));
    log.worker(0).write(LogLevel::debug, "loud");
    log.pump();
    const std::string text = content(folder.file("app"));
    CHECK(text.find("quiet") == std::string::npos);
    CHECK(text.find("loud") != std::string::npos);
    CHECK_FALSE(parse_log_level("verbose").has_value());
  }

  TEST_CASE("the access log goes to its own file") {
    const Folder folder;
    Log log({.file = folder.file("app"), .access_file = folder.file("access")}, 1, noon);
    REQUIRE_FALSE(log.open().has_value());
    REQUIRE(log.worker(0).access_enabled());
    log.worker(0).access(retried());
    log.pump();
    CHECK(content(folder.file("app")).empty());
    CHECK(nlohmann::json::parse(content(folder.file("access")))["request_id"] == "id-1");
  }

  TEST_CASE("without a file there is no access log") {
    Log log({.file = "stderr"}, 1, noon);
    CHECK_FALSE(log.worker(0).access_enabled());
  }

  TEST_CASE("a full ring drops and counts lines, and what was accepted is written whole") {
    const Folder folder;
    Log log({.file = folder.file("app"), .ring_bytes = 1024}, 1, noon);
    REQUIRE_FALSE(log.open().has_value());
    constexpr int kLines = 100;
    for (int i = 0; i < kLines; ++i) log.worker(0).write(LogLevel::info, "line");
    CHECK(log.dropped() > 0);
    log.pump();
    const std::string text = content(folder.file("app"));
    CHECK(line_count(text) + log.dropped() == kLines);
    CHECK(text.ends_with("\"message\":\"line\"}\n"));
  }

  TEST_CASE("a warning that repeats is written so often, an info line always") {
    const Folder folder;
    Log log({.file = folder.file("app")}, 1, noon);
    REQUIRE_FALSE(log.open().has_value());
    for (std::uint32_t i = 0; i < RepeatLimit::kLines + 5; ++i) log.worker(0).write(LogLevel::warn, "again");
    log.pump();
    CHECK(line_count(content(folder.file("app"))) == RepeatLimit::kLines);
    for (std::uint32_t i = 0; i < RepeatLimit::kLines + 5; ++i) log.worker(0).write(LogLevel::info, "fine");
    log.pump();
    CHECK(line_count(content(folder.file("app"))) == 2 * RepeatLimit::kLines + 5);
  }

  TEST_CASE("after reopen lines go to a new file of the old name") {
    const Folder folder;
    const std::string file = folder.file("app");
    Log log({.file = file}, 1, noon);
    REQUIRE_FALSE(log.open().has_value());
    log.worker(0).write(LogLevel::info, "before");
    log.pump();
    std::filesystem::rename(file, file + ".1");
    log.reopen();
    log.pump();
    log.worker(0).write(LogLevel::info, "after");
    log.pump();
    CHECK(content(file + ".1").find("before") != std::string::npos);
    CHECK(content(file).find("after") != std::string::npos);
    CHECK(line_count(content(file)) == 1);
  }

  TEST_CASE("a file that cannot be opened is an error and not an exception") {
    const Folder folder;
    std::ofstream{folder.file("plain")} << "x";
    Log log({.file = folder.file("plain") + "/app"}, 1, noon);
    CHECK(log.open().has_value());
  }

  TEST_CASE("the thread writes everything before it ends") {
    const Folder folder;
    Log log({.file = folder.file("app")}, 2, noon);
    REQUIRE_FALSE(log.open().has_value());
    log.start();
    std::thread other([&] {
      for (int i = 0; i < 500; ++i) log.worker(1).write(LogLevel::info, "from worker 1");
    });
    for (int i = 0; i < 500; ++i) log.worker(0).write(LogLevel::info, "from worker 0");
    for (int i = 0; i < 10; ++i) log.control().write(LogLevel::info, "from the control thread");
    other.join();
    log.stop();
    CHECK(line_count(content(folder.file("app"))) == 1010);
    CHECK(log.dropped() == 0);
  }
}
