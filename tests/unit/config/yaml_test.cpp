#include <string>

#include <doctest/doctest.h>

#include "proxy/config/node.hpp"
#include "tests/unit/config/loading.hpp"

namespace outrigger::config {
namespace {

/// The one finding there is; several, joined, if there are more.
std::string only(const Lines& lines) {
  std::string out;
  for (const std::string& line : lines) out += (out.empty() ? "" : " | ") + line;
  return out;
}

TEST_SUITE("config") {
  TEST_CASE("values that mean something to YAML are named with the quotes they need") {
    struct Trap {
      std::string text, finding;
    };
    const std::string expected_end = "error: not valid YAML: expected `,` or `}` (quote the value: ";
    const std::string no_start =
        "error: not valid YAML: a value cannot begin with this character (a plain value cannot begin with @ ` % > or "
        "|; quote the value: ";
    const std::string no_anchor =
        "error: not valid YAML: no anchor of that name (a plain value that begins with * refers to an anchor; if it is "
        "text, quote the value: ";
    for (const Trap& trap : {
             Trap{"a: { listen: [::1]:80 }", "t.yaml:1:19: " + expected_end + "\"[::1]:80\")"},
             Trap{"a: { path_template: /u/{id} }", "t.yaml:1:24: " + expected_end + "\"/u/{id}\")"},
             Trap{"a: { t: /u/{id}, methods: [GET] }", "t.yaml:1:12: " + expected_end + "\"/u/{id}\")"},
             Trap{"a: { t: \"x\", p: /f/{rest...} }", "t.yaml:1:20: " + expected_end + "\"/f/{rest...}\")"},
             Trap{"a: { x: ${A}, b: 2 }", "t.yaml:1:10: " + expected_end + "\"${A}\")"},
             Trap{"a: { r: [a-z]+/x }", "t.yaml:1:14: " + expected_end + "\"[a-z]+/x\")"},
             Trap{"host: *.example.com", "t.yaml:1:7: " + no_anchor + "\"*.example.com\")"},
             Trap{"a: {hosts: [*.x.com]}", "t.yaml:1:13: " + no_anchor + "\"*.x.com\")"},
             Trap{"a: @x", "t.yaml:1:4: " + no_start + "\"@x\")"},
             Trap{"a: `x`", "t.yaml:1:4: " + no_start + "\"`x`\")"},
             Trap{"a: %x", "t.yaml:1:4: " + no_start + "\"%x\")"},
             Trap{"listen: [::1]:80",
                  "t.yaml:1:14: error: not valid YAML: this does not continue the map it stands in (quote the value: "
                  "\"[::1]:80\")"},
             Trap{"a: b: c",
                  "t.yaml:1:5: error: not valid YAML: a `:` that does not follow a key (a value that holds a colon and "
                  "a blank: quote the value: \"b: c\")"},
             Trap{"a: !websocket",
                  "t.yaml:1:4: error: the tag !websocket means nothing here (a plain value cannot begin with !; quote "
                  "the value: \"!websocket\")"},
             Trap{"a: [[::1]:80]",
                  "t.yaml:1:5: error: a key must be text (if this is a value that begins with [ or {, quote the value: "
                  "\"[::1]:80\")"},
         }) {
      CAPTURE(trap.text);
      CHECK(only(findings(trap.text)) == trap.finding);
    }
  }

  TEST_CASE("broken YAML is an error with its place like any other") {
    CHECK(only(findings("")) == "t.yaml:1:1: error: the file is empty");
    CHECK(only(findings("# nothing\n")) == "t.yaml:1:1: error: the file is empty");
    CHECK(only(findings("- a\n- b\n")) == "t.yaml:1:1: error: must be a map of keys, got a list");
    CHECK(only(findings("a:\n\tb: 1\n")) ==
          "t.yaml:2:3: error: not valid YAML: a `:` that does not follow a key (indent with blanks, not with tabs)");
    CHECK(only(findings("a:\n  b: 1\n c: 2\n")) ==
          "t.yaml:3:2: error: not valid YAML: this does not continue the map it stands in (check the indentation: it "
          "fits none of the lines above)");
    CHECK(only(findings("a: [1,\n")) ==
          "t.yaml:2:1: error: not valid YAML: expected `,` or `]` (is a bracket or a quote left open?)");
    CHECK(only(findings("a: {b: 1")) ==
          "t.yaml:1:9: error: not valid YAML: expected `,` or `}` (is a bracket or a quote left open?)");
    CHECK(only(findings("a: 1\n---\nb: 2\n")) ==
          "t.yaml:3:1: error: a second document in the same file (is it indented less than the first line?)");
    CHECK(only(findings("a: \"\\d\"\n")) ==
          "t.yaml:1:7: error: not valid YAML: unknown escape character: d (in double quotes a backslash begins an "
          "escape: use single quotes)");
    CHECK(only(findings("a: \xff\n")) == "t.yaml:1:4: error: the file is not valid UTF-8 here");
    CHECK(only(findings("ab: 1\nb: \x01\n")) == "t.yaml:2:4: error: a control character");
    CHECK(only(findings("a: &x [*x]\n")) == "t.yaml:1:8: error: an alias within the node it refers to");
    CHECK(only(findings(std::string(5000, '['))).find("nested too deeply") != std::string::npos);
    CHECK(only(findings(std::string((1 << 20) + 1, ' '))) == "t.yaml: error: the file is larger than 1 MiB");
  }

  TEST_CASE("duplicate keys are errors that name the first") {
    CHECK(findings_in("drain:\n  delay: 1s\n  delay: 2s\ndrain: {}\n") ==
          Lines{"t.yaml:10:3: error: drain.delay: duplicate key (first at 9:3)",
                "t.yaml:11:1: error: drain: duplicate key (first at 8:1)"});
  }

  TEST_CASE("merge keys copy maps, own keys win, earlier maps win over later ones") {
    const LoadResult result = load(
        "version: 1\n"
        "x-one: &one {delay: 1s, grace: 1s}\n"
        "x-two: &two {delay: 2s}\n"
        "drain: {grace: 3s, <<: [*two, *one]}\n"
        "limits: {<<: {max_headers: 7}}\n"
        "listeners: [{name: in, listen: '127.0.0.1:0'}]\n"
        "upstreams: {up: {endpoints: ['127.0.0.1:1']}}\n"
        "routes: [{upstream: up}]\n");
    REQUIRE(result.diagnostics.empty());
    CHECK(result.config.drain.delay == std::chrono::seconds{2});
    CHECK(result.config.drain.grace == std::chrono::seconds{3});
    CHECK(result.config.limits.max_headers == 7);
  }

  TEST_CASE("a merge of something that is no map is an error") {
    CHECK(only(findings_in("drain: {<<: 5s}\n")) ==
          "t.yaml:8:9: error: drain.<<: takes a map or a list of maps (refer to an anchor: <<: *name)");
  }

  TEST_CASE("a quoted << is a key like any other") {
    CHECK(only(findings_in("drain: {'<<': {}}\n")) == "t.yaml:8:9: error: drain.<<: unknown key");
  }

  TEST_CASE("a mistake behind an alias is told once, where it is written") {
    CHECK(findings_in("x-l: &l {max_headers: 0}\nlimits: *l\npolicies:\n  a: &p {id: [x]}\n  default: *p\n")[0] ==
          "t.yaml:8:23: error: limits.max_headers: must be between 1 and 256, got 0");
    CHECK(findings_in("x-l: &l {max_headers: 0}\nlimits: *l\npolicies:\n  default: &p {id: [x]}\n  b: *p\n").size() ==
          3);
  }

  TEST_CASE("merging does not grow without bound") {
    std::string text = "x-a: &a {";
    for (int i = 0; i < 1000; ++i) text += "k" + std::to_string(i) + ": 1, ";
    text += "}\nx-b:\n";
    for (int i = 0; i < 300; ++i) text += "- {<<: *a}\n";
    const Lines lines = findings_in(text);
    REQUIRE(!lines.empty());
    CHECK(lines[0].find("too many keys after merging") != std::string::npos);
  }

  TEST_CASE("a document may not grow without bound when its aliases are followed") {
    const auto doubled = [](int times) {
      std::string text = "x-0: &a0 [1]\n";
      for (int i = 1; i <= times; ++i) {
        const std::string before = "*a" + std::to_string(i - 1);
        text += "x-" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + before + ", " + before + "]\n";
      }
      return text;
    };
    // The i-th has 3 * 2^i - 1 values; all of the document are counted.
    CHECK(findings_in(doubled(17)).empty());
    CHECK(findings_in(doubled(60)) == Lines{"t.yaml:26:7: error: with this there are more than 1000000 values"});
  }

  TEST_CASE("a list that many maps share is counted for each of them") {
    const auto shared = [](int maps) {
      std::string text = "x-list: &l [";
      for (int i = 0; i < 997; ++i) text += "a,";
      text += "]\nx-maps:\n";
      for (int i = 0; i < maps; ++i) text += "- {of: *l}\n";
      return text;
    };
    CHECK(findings_in(shared(990)).empty());
    CHECK(only(findings_in(shared(1'001))).ends_with("error: with this there are more than 1000000 values"));
  }

  TEST_CASE("levels and the length of keys are bounded") {
    const auto nested = [](std::size_t levels) {
      return "x-deep: " + std::string(levels, '[') + std::string(levels, ']') + "\n";
    };
    CHECK(findings_in(nested(kMaxLevels - 1)).empty());
    CHECK(only(findings_in(nested(kMaxLevels))).find("nested too deeply") != std::string::npos);
    const auto key = [](std::size_t bytes) { return "x-" + std::string(bytes - 2, 'k') + ": 1\n"; };
    CHECK(findings_in(key(kMaxKeyBytes)).empty());
    CHECK(only(findings_in(key(kMaxKeyBytes + 1))).ends_with("error: a key must be no longer than 256 bytes"));
  }

  TEST_CASE("variables of the environment stand for their values") {
    const std::string rest =
        "drain: {delay: '${DELAY}', grace: '${GRACE:-7}s'}\nworkers: \"${WORKERS}\"\ntelemetry: {log: {file: "
        "'$$HOME/$x${EMPTY:-log}'}}\n";
    const LoadResult result = load(Sample{"", "", "", rest}.text(), {{"DELAY", "2s"}, {"WORKERS", "3"}, {"EMPTY", ""}});
    CHECK(result.diagnostics.empty());
    CHECK(result.config.drain.delay == std::chrono::seconds{2});
    CHECK(result.config.drain.grace == std::chrono::seconds{7});
    CHECK(result.config.workers == 3);
    CHECK(result.config.telemetry.log.file == "$HOME/$xlog");
  }

  TEST_CASE("a value of the environment is text, not YAML") {
    const LoadResult result =
        load(Sample{"", "", "", "telemetry: {log: {file: '${F}'}}\n"}.text(), {{"F", "a}, x: {${DEEP}"}});
    CHECK(result.diagnostics.empty());
    CHECK(result.config.telemetry.log.file == "a}, x: {${DEEP}");
  }

  TEST_CASE("a variable that is missing, nameless or unfinished is an error") {
    CHECK(findings_in("drain:\n  delay: ${NO}\n  grace: \"${a-b}\"\ninstance: ${X\n") ==
          Lines{"t.yaml:9:10: error: drain.delay: the environment variable NO is not set (set it, or give a default: "
                "${NO:-default})",
                "t.yaml:10:10: error: drain.grace: `a-b` is not the name of a variable (a dollar is written $$)",
                "t.yaml:11:11: error: instance: `${` without its `}` (a dollar is written $$)"});
  }

  TEST_CASE("what the environment adds is bounded, however often it is asked for") {
    const auto asked = [](int times) {
      std::string text = "x-much: [";
      for (int i = 0; i < times; ++i) text += "'${KIB}',";
      return findings_in(text + "]\n", {{"KIB", std::string(1024, 'v')}});
    };
    CHECK(asked(1024).empty());
    CHECK(only(asked(1025)).ends_with("error: x-much[1024]: more than 1 MiB from the environment"));
  }

  TEST_CASE("a variable must be UTF-8 as the file must") {
    CHECK(findings_in("telemetry: {log: {file: '${BAD}'}}\n", {{"BAD", "a\xff"}}) ==
          Lines{"t.yaml:8:25: error: telemetry.log.file: the environment variable BAD is not valid UTF-8"});
  }
}

}  // namespace
}  // namespace outrigger::config
