#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include <doctest/doctest.h>

#include "proxy/config/dump.hpp"
#include "tests/unit/config/loading.hpp"

namespace outrigger::config {
namespace {

namespace fs = std::filesystem;

/// A folder of its own for the time of a test.
class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "outrigger-config-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~Folder() { fs::remove_all(path_); }

  std::string write(const std::string& name, const std::string& text) const {
    const fs::path path = path_ / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
    return path.string();
  }
  std::string path(const std::string& name) const { return (path_ / name).string(); }

  /// The findings with paths relative to the folder.
  Lines shown(const Diagnostics& diagnostics) const {
    Lines lines;
    for (const Diagnostic& diagnostic : diagnostics) {
      std::string line = to_string(diagnostic);
      const std::string prefix = path_.string() + "/";
      for (std::size_t at = line.find(prefix); at != std::string::npos; at = line.find(prefix)) {
        line.erase(at, prefix.size());
      }
      lines.push_back(line);
    }
    return lines;
  }

 private:
  fs::path path_;
};

const std::string kMain =
    "version: 1\ninclude: ['parts/*.yaml']\nlisteners: [{name: in, listen: '127.0.0.1:0'}]\n"
    "upstreams: {up: {endpoints: ['127.0.0.1:1']}}\nroutes: [{match: {path: /main}, upstream: up}]\n";

TEST_SUITE("config") {
  TEST_CASE("a file that cannot be read is an error like any other") {
    const Folder folder;
    CHECK(folder.shown(load_file(folder.path("none.yaml")).diagnostics) ==
          Lines{"none.yaml: error: cannot be read: No such file or directory"});
    CHECK(folder.shown(load_file(folder.path(".")).diagnostics)[0].find("cannot be read: Is a directory") !=
          std::string::npos);
  }

  TEST_CASE("included files add to maps and lists in the order of their names") {
    const Folder folder;
    const std::string main = folder.write("main.yaml", kMain);
    folder.write("parts/b.yaml", "routes: [{match: {path: /b}, upstream: b}]\nupstreams: {b: {endpoints: ['h:2']}}\n");
    folder.write("parts/a.yaml",
                 "version: 1\nroutes: [{match: {path: /a}, upstream: up, policy: a}]\npolicies: {a: {id: x}}\n"
                 "drain: {delay: 1s}\n");
    folder.write("parts/not.txt", "not: yaml: at all");
    const LoadResult result = load_file(main);
    CHECK(folder.shown(result.diagnostics).empty());
    REQUIRE(result.config.routes.size() == 3);
    CHECK(result.config.routes[0].match.path == "/main");
    CHECK(result.config.routes[1].match.path == "/a");
    CHECK(result.config.routes[1].at.file == folder.path("parts/a.yaml"));
    CHECK(result.config.routes[2].match.path == "/b");
    CHECK(result.config.upstreams.size() == 2);
    CHECK(result.config.policies.at("a").policy.id == "x");
    CHECK(result.config.drain.delay == std::chrono::seconds{1});
    CHECK(result.config.files ==
          std::vector<std::string>{main, folder.path("parts/a.yaml"), folder.path("parts/b.yaml")});
  }

  TEST_CASE("parts of every map of instances may stand in several files") {
    const Folder folder;
    const std::string instances =
        "circuits: {%: {}}\nrate_limits: {%: {}}\nbulkheads: {%: {max_concurrent: 1}}\nadaptive_limits: {%: {}}\n"
        "adaptive_throttles: {%: {}}\nclassifiers: {%: [{when: {status: 409}, outcome: retryable}]}\n"
        "policies: {%: {circuit: %, rate_limit: %, bulkhead: %, adaptive_limit: %, adaptive_throttle: %, retry: "
        "{classifier: %}}}\nroutes: [{match: {path: /%}, policy: %, upstream: up}]\n";
    for (const char name : {'a', 'b'}) {
      std::string text = instances;
      std::replace(text.begin(), text.end(), '%', name);
      folder.write(std::string("parts/") + name + ".yaml", text);
    }
    const LoadResult result = load_file(folder.write("main.yaml", kMain));
    CHECK(folder.shown(result.diagnostics).empty());
    CHECK(result.config.circuits.size() == 2);
    CHECK(result.config.classifiers.size() == 2);
    CHECK(result.config.policies.at("b").bulkheads[0].name == "b");
  }

  TEST_CASE("the same name in two files is an error that names both places") {
    const Folder folder;
    const std::string main = folder.write("main.yaml", kMain + "drain: {}\n");
    folder.write(
        "parts/a.yaml",
        "upstreams:\n  up: {endpoints: ['h:1']}\n  b: {endpoints: ['h:1']}\ndrain: {}\nroutes: [{upstream: b}]\n"
        "listeners: [{name: in, listen: '127.0.0.1:0'}]\n");
    CHECK(
        folder.shown(load_file(main).diagnostics) ==
        Lines{"main.yaml:5:18: error: routes[0].match.listener: required, but missing: there is more than one listener "
              "(the name of one, or any)",
              "parts/a.yaml:2:3: error: upstreams.up: defined twice (first at main.yaml:4:13)",
              "parts/a.yaml:4:1: error: drain: defined twice (first at main.yaml:6:1)",
              "parts/a.yaml:5:10: error: routes[1].match.listener: required, but missing: there is more than one "
              "listener (the name of one, or any)",
              "parts/a.yaml:6:20: error: listeners[1].name: the name is taken: in (first at main.yaml:3:20)"});
  }

  TEST_CASE("mistakes in included files are told with those of the first") {
    const Folder folder;
    const std::string main = folder.write("main.yaml", kMain + "worker: 1\n");
    folder.write("parts/a.yaml", "version: 2\ninclude: [x.yaml]\nroutes:\n  - { upstream: nowhere }\n");
    folder.write("parts/b.yaml", "routes: [\n");
    folder.write("parts/c.yaml", "- a\n");
    CHECK(folder.shown(load_file(main).diagnostics) ==
          Lines{"main.yaml:6:1: error: worker: unknown key (did you mean \"workers\"?)",
                "parts/a.yaml:1:10: error: version: must be 1",
                "parts/a.yaml:2:1: error: include: only the first file may include others",
                "parts/a.yaml:4:17: error: routes[1].upstream: no upstream of the name \"nowhere\"",
                "parts/b.yaml:2:1: error: not valid YAML: expected `,` or `]` (is a bracket or a quote left open?)",
                "parts/c.yaml:1:1: error: must be a map of keys, got a list"});
  }

  TEST_CASE("a pattern without files is a warning, a name without file an error") {
    const Folder folder;
    const std::string main = folder.write("main.yaml", kMain);
    CHECK(folder.shown(load_file(main).diagnostics) ==
          Lines{"main.yaml:2:11: warning: include[0]: no file matches parts/*.yaml"});
    const std::string named =
        folder.write("named.yaml", "include: [a.yaml]\n" + kMain.substr(0, 11) + kMain.substr(37));
    CHECK(folder.shown(load_file(named).diagnostics) ==
          Lines{"named.yaml:1:11: error: include[0]: no such file: a.yaml"});
  }

  TEST_CASE("what is included must be a file") {
    const Folder folder;
    const std::string main = folder.write("main.yaml", kMain);
    folder.write("parts/a.yaml/deep.txt", "");
    CHECK(folder.shown(load_file(main).diagnostics) ==
          Lines{"main.yaml:2:11: error: include[0]: parts/a.yaml cannot be read: not a regular file"});
  }

  TEST_CASE("a pattern that also matches the including file leaves it alone, in a folder of any name") {
    const Folder folder;
    std::string text = kMain;
    text.replace(text.find("parts/*.yaml"), 12, "*.yaml");
    const std::string main = folder.write("odd [name]*/main.yaml", text);
    folder.write("odd [name]*/more.yaml", "drain: {delay: 3s}\n");
    const LoadResult result = load_file(main);
    CHECK(result.diagnostics.empty());
    CHECK(result.config.drain.delay == std::chrono::seconds{3});
    CHECK(result.config.files.size() == 2);
  }

  TEST_CASE("check prints what is wrong, nothing where all is well, and answers with the exit code") {
    const Folder folder;
    const std::string good = folder.write("good.yaml", Sample{}.text());
    const std::string bad = folder.write("bad.yaml", "version: 1\n");
    std::ostringstream out;
    CHECK(check_files({good}, out) == 0);
    CHECK(out.str().empty());
    CHECK(check_files({good, bad, good}, out) == 1);
    CHECK(out.str().find(bad + ":1:1: error: listeners: required, but missing\n") != std::string::npos);
    CHECK(out.str().find(good) == std::string::npos);
  }

  TEST_CASE("the starting file and every example load without a word") {
    const fs::path root = fs::path(OUTRIGGER_SOURCE_DIR) / "config";
    std::vector<fs::path> files = {root / "outrigger.yaml"};
    for (const auto& entry : fs::directory_iterator(root / "examples")) {
      if (entry.path().extension() == ".yaml") files.push_back(entry.path());
    }
    CHECK(files.size() > 10);
    for (const fs::path& file : files) {
      const LoadResult result = load_file(file.string(), [](const std::string&) { return std::nullopt; });
      CAPTURE(file.string());
      Lines lines;
      for (const Diagnostic& diagnostic : result.diagnostics) lines.push_back(to_string(diagnostic));
      CHECK(lines == Lines{});
    }
  }

  TEST_CASE("the starting file says the defaults") {
    const LoadResult written = load_file(std::string(OUTRIGGER_SOURCE_DIR) + "/config/outrigger.yaml");
    const LoadResult short_form = load(
        "version: 1\nlisteners: [{name: outbound, listen: '127.0.0.1:8080'}]\n"
        "upstreams: {service: {endpoints: ['127.0.0.1:9001']}}\nroutes: [{upstream: service}]\n"
        "policies: {default: {retry: {}}}\n");
    CHECK(dump(written.config) == dump(short_form.config));
  }

  TEST_CASE("the blocks that the starting file leaves out say their defaults, too") {
    std::ifstream in(std::string(OUTRIGGER_SOURCE_DIR) + "/config/outrigger.yaml");
    std::string text;
    bool left_out = false;
    for (std::string line; std::getline(in, line);) {
      const std::string_view kMark = "    # ";
      if (line.starts_with("    # Off unless")) {
        left_out = true;
      } else if (left_out && line.starts_with(kMark)) {
        line.erase(4, 2);
      } else {
        left_out = false;
      }
      text += line + "\n";
    }
    const LoadResult written = load(text);
    Lines lines;
    for (const Diagnostic& diagnostic : written.diagnostics) lines.push_back(diagnostic.message);
    CHECK(lines == Lines{"upstream service has one endpoint: a hedge goes where the first attempt waits"});
    const LoadResult short_form = load(
        "version: 1\nlisteners: [{name: outbound, listen: '127.0.0.1:8080'}]\n"
        "upstreams: {service: {endpoints: ['127.0.0.1:9001']}}\nroutes: [{upstream: service}]\n"
        "policies: {default: {retry: {}, hedge: {}, circuit: {}, rate_limit: {}, bulkhead: {max_concurrent: 20}, "
        "adaptive_limit: {}, adaptive_throttle: {}}}\n");
    CHECK(dump(written.config) == dump(short_form.config));
  }

  TEST_CASE("the effective configuration, loaded again, is the same") {
    const fs::path root = fs::path(OUTRIGGER_SOURCE_DIR) / "config";
    for (const auto& entry : fs::directory_iterator(root / "examples")) {
      if (entry.path().extension() != ".yaml" || entry.path().filename() == "environment.yaml") continue;
      CAPTURE(entry.path().string());
      const std::string once = dump(load_file(entry.path().string()).config);
      const LoadResult again = load(once);
      CHECK(again.ok());
      CHECK(dump(again.config) == once);
    }
  }
}

}  // namespace
}  // namespace outrigger::config
