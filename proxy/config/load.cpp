#include "proxy/config/load.hpp"

#include <glob.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <utility>

#include "proxy/config/load_blocks.hpp"
#include "proxy/config/read_file.hpp"
#include "proxy/config/validate.hpp"

namespace outrigger::config {
namespace {

/// Root keys that several files may each have a part of.
constexpr std::array<std::string_view, 11> kShared = {
    "listeners",   "upstreams", "routes",          "policies",           "budgets",    "circuits",
    "rate_limits", "bulkheads", "adaptive_limits", "adaptive_throttles", "classifiers"};

/// The paths that a pattern stands for, in alphabetical order.
std::vector<std::string> expand_glob(const std::string& pattern) {
  glob_t found{};
  std::vector<std::string> out;
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0) out.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  globfree(&found);
  return out;
}

/// A folder's name as a pattern that matches only it.
std::string escape_glob(const std::string& path) {
  std::string out;
  for (const char c : path) {
    if (std::string_view("*?[]\\").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

/// One load from text to Config. Documents are kept to the end because nodes and places point into them.
class Loader {
 public:
  Loader(const std::string& filename, const Environment& environment)
      : environment_(environment), filename_(filename), findings_(filename) {}

  LoadResult from_file() {
    std::string why;
    const auto text = read_file(filename_, why);
    if (text) return from_text(*text);
    files_.push_back(filename_);
    findings_.error({}, "", "cannot be read: " + why);
    return finish();
  }

  LoadResult from_text(std::string_view text) {
    const Document* const main = parse(text, filename_);
    if (main == nullptr) return finish();
    findings_.saw("", main->root->place);
    read_root(include_all(*main->root));
    return finish();
  }

 private:
  const Document* parse(std::string_view text, const std::string& file) {
    files_.push_back(file);
    Document& document = documents_.emplace_back();
    document.file = file;
    if (!parse_yaml(text, document, findings_.diagnostics())) return nullptr;
    resolve(document, environment_, findings_.diagnostics());
    if (document.root->kind == Node::Kind::map) return &document;
    findings_.error(document.root->place, "",
                    "must be a map of keys, got " + std::string(kind_name(document.root->kind)));
    return nullptr;
  }

  /// The root with the parts of all included files in it; the root itself where nothing is included.
  const Node& include_all(const Node& root) {
    const Entry* const include = root.find("include");
    if (include == nullptr) return root;
    Node& merged = documents_.emplace_back().add(Node::Kind::map, 0, 0);
    merged.place = root.place;
    merged.entries = root.entries;
    Block block(findings_, "root", {&root, "", root.place});
    block.list("include", [&](const Value& value, std::size_t) {
      std::string pattern;
      if (read_text(findings_, value, pattern, "a file name or pattern")) include_pattern(value, pattern, merged);
    });
    std::erase_if(merged.entries, [](const Entry& entry) { return entry.key == "include"; });
    return merged;
  }

  void include_pattern(const Value& value, const std::string& pattern, Node& merged) {
    const std::filesystem::path folder = std::filesystem::path(filename_).parent_path();
    const bool relative = std::filesystem::path(pattern).is_relative();
    const std::string base = folder.empty() || !relative ? "" : escape_glob(folder.string()) + "/";
    const std::vector<std::string> paths = expand_glob(base + pattern);
    if (paths.empty()) {
      const bool wild = pattern.find_first_of("*?[") != std::string::npos;
      if (wild) findings_.warning(value.place, value.path, "no file matches " + pattern);
      if (!wild) findings_.error(value.place, value.path, "no such file: " + pattern);
    }
    for (const std::string& path : paths) include_file(value, path, merged);
  }

  void include_file(const Value& value, const std::string& path, Node& merged) {
    // A pattern like *.yaml also matches the file that has it.
    const bool known = std::any_of(files_.begin(), files_.end(), [&](const std::string& file) {
      std::error_code ignored;
      return file == path || std::filesystem::equivalent(file, path, ignored);
    });
    if (known) return;
    std::string why;
    const auto text = read_regular_file(path, why);
    if (!text) return findings_.error(value.place, value.path, path + " cannot be read: " + why);
    const Document* const document = parse(*text, path);
    if (document == nullptr) return;
    for (const Entry& entry : document->root->entries) add_entry(entry, merged);
  }

  void add_entry(const Entry& entry, Node& merged) {
    if (entry.key == "version") {
      if (entry.value->text != "1") findings_.error(entry.value->place, "version", "must be 1");
      return;
    }
    if (entry.key == "include") {
      return findings_.error(entry.key_place, "include", "only the first file may include others");
    }
    const auto mine = std::find_if(merged.entries.begin(), merged.entries.end(),
                                   [&](const Entry& other) { return other.key == entry.key; });
    const bool shared = std::find(kShared.begin(), kShared.end(), entry.key) != kShared.end();
    if (mine == merged.entries.end()) {
      merged.entries.push_back(entry);
    } else if (shared && mine->value->kind == entry.value->kind) {
      mine->value = &join(*mine->value, *entry.value, entry.key);
    } else {
      defined_twice(entry.key, entry.key_place, mine->key_place);
    }
  }

  /// A map or list with the elements of both.
  Node& join(const Node& first, const Node& second, const std::string& path) {
    Node& out = documents_.front().add(first.kind, 0, 0);
    out.place = first.place;
    out.items = first.items;
    out.items.insert(out.items.end(), second.items.begin(), second.items.end());
    out.entries = first.entries;
    for (const Entry& entry : second.entries) {
      const Entry* const mine = first.find(entry.key);
      if (mine == nullptr) {
        out.entries.push_back(entry);
      } else {
        defined_twice(join_path(path, entry.key), entry.key_place, mine->key_place);
      }
    }
    return out;
  }

  void defined_twice(const std::string& path, const Place& place, const Place& first) {
    findings_.error(place, path, "defined twice", "first at " + to_string(first));
  }

  void read_root(const Node& node) {
    Block root(findings_, "root", {&node, "", node.place});
    root.take("include");
    load_process(root, config_);
    load_listeners(root, config_);
    load_upstreams(root, config_);
    load_budgets(root, config_);
    load_circuits_and_limits(root, config_);
    load_classifiers(root, config_);
    load_policies(root, config_);
    load_routes(root, config_);
    load_telemetry(root, config_);
    root.finish();
    validate(config_, findings_);
  }

  LoadResult finish() {
    for (const auto& [key, policy] : config_.policies) {
      if (policy.fallback && !policy.fallback->respond.body_file.empty()) {
        files_.push_back(policy.fallback->respond.body_file);
      }
    }
    const auto add = [this](const FileConfig& file) {
      if (!file.path.empty()) files_.push_back(file.path);
    };
    for (const ListenerConfig& listener : config_.listeners) {
      if (!listener.tls) continue;
      for (const FileConfig* file : files_of(*listener.tls)) add(*file);
    }
    for (const UpstreamConfig& upstream : config_.upstreams) {
      if (!upstream.tls) continue;
      for (const FileConfig* file : files_of(*upstream.tls)) add(*file);
    }
    config_.files = files_;
    return {std::move(config_), findings_.sorted(files_)};
  }

  const Environment& environment_;
  const std::string filename_;
  std::deque<Document> documents_;
  std::vector<std::string> files_;
  Findings findings_;
  Config config_;
};

}  // namespace

std::optional<std::string> process_environment(const std::string& name) {
  const char* const value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return value;
}

bool LoadResult::ok() const noexcept {
  return std::none_of(diagnostics.begin(), diagnostics.end(),
                      [](const Diagnostic& diagnostic) { return diagnostic.severity == Severity::error; });
}

LoadResult load_file(const std::string& path, const Environment& environment) {
  return Loader(path, environment).from_file();
}

LoadResult load_text(std::string_view text, const std::string& filename, const Environment& environment) {
  return Loader(filename, environment).from_text(text);
}

std::variant<ChaosBlock, Diagnostics> load_chaos(std::string_view text, const std::string& filename,
                                                 const std::string& policy, const Config& config) {
  Findings findings(filename);
  Document document;
  document.file = filename;
  ChaosBlock chaos;
  if (parse_yaml(text, document, findings.diagnostics())) {
    resolve(
        document, [](const std::string&) { return std::nullopt; }, findings.diagnostics());
    const std::string path = "policies." + policy + ".chaos";
    findings.saw(path, document.root->place);
    Block block(findings, "chaos", {document.root, path, document.root->place});
    read_chaos(block, chaos);
    block.finish();
    check_chaos(config, chaos, path, findings);
  }
  if (findings.diagnostics().empty()) return chaos;
  return findings.sorted({filename});
}

}  // namespace outrigger::config
