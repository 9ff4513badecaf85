#include <algorithm>
#include <sstream>
#include <utility>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include "proxy/config/node.hpp"
#include "proxy/config/text.hpp"

namespace outrigger::config {
namespace {

/// Builds the tree from parser events. After the first thing it cannot represent it only remembers that.
class TreeBuilder final : public YAML::EventHandler {
 public:
  TreeBuilder(Document& document, Diagnostics& diagnostics) : document_(document), diagnostics_(diagnostics) {}

  bool failed() const noexcept { return failed_; }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Node& node = add(Node::Kind::null, mark, anchor);
    node.open = false;
    attach(node);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Node* const target = anchor < anchors_.size() ? anchors_[anchor] : nullptr;
    if (target == nullptr || target->open) {
      fail(mark, "an alias within the node it refers to", "");
      attach(add(Node::Kind::null, mark, 0));
    } else {
      attach(*target, true, {nullptr, mark.line + 1, mark.column + 1});
    }
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    Node& node = add(Node::Kind::scalar, mark, anchor);
    node.text = value;
    node.quoted = tag != "?";
    node.open = false;
    check_tag(mark, tag, value);
    attach(node);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    begin(Node::Kind::sequence, mark, tag, anchor);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    begin(Node::Kind::map, mark, tag, anchor);
  }
  void OnSequenceEnd() override { end(); }
  void OnMapEnd() override { end(); }

 private:
  /// A collection whose end has not come, and in a map the key whose value has not come.
  struct Open {
    Node* node;
    const Node* key;
  };

  Node& add(Node::Kind kind, const YAML::Mark& mark, YAML::anchor_t anchor) {
    Node& node = document_.add(kind, mark.line + 1, mark.column + 1);
    if (anchor != 0) {
      if (anchors_.size() <= anchor) anchors_.resize(anchor + 1);
      anchors_[anchor] = &node;
    }
    return node;
  }

  void begin(Node::Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    Node& node = add(kind, mark, anchor);
    check_tag(mark, tag, {});
    stack_.push_back({&node, nullptr});
    if (stack_.size() == kMaxLevels + 1) fail(mark, "nested too deeply", "");
  }

  void end() {
    Node& node = *stack_.back().node;
    stack_.pop_back();
    node.open = false;
    attach(node);
  }

  void attach(Node& node) { attach(node, false, node.place); }

  void attach(Node& node, bool alias, const Place& at) {
    if (stack_.empty()) {
      document_.root = &node;
      return;
    }
    Open& parent = stack_.back();
    const bool map = parent.node->kind == Node::Kind::map;
    if (map && parent.key == nullptr) return take_key(parent, node);
    if (!count_values(*parent.node, node)) fail_for_size(at);
    if (!map) return parent.node->items.push_back({&node, alias});
    const Node& key = *std::exchange(parent.key, nullptr);
    parent.node->entries.push_back({key.text, key.place, !key.quoted, &node, alias});
  }

  void take_key(Open& parent, Node& key) {
    if (key.kind != Node::Kind::scalar) {
      const bool bracket = key.kind == Node::Kind::sequence || key.kind == Node::Kind::map;
      fail({key.place.line, key.place.col}, "a key must be text",
           bracket ? "if this is a value that begins with [ or {, quote the value: \"[::1]:80\"" : "");
    }
    if (key.text.size() > kMaxKeyBytes) {
      fail({key.place.line, key.place.col}, "a key must be no longer than " + std::to_string(kMaxKeyBytes) + " bytes",
           "");
    }
    parent.key = &key;
  }

  void check_tag(const YAML::Mark& mark, const std::string& tag, const std::string& value) {
    if (tag.empty() || tag == "?" || tag == "!" || tag.starts_with("tag:yaml.org,2002:")) return;
    fail({mark.line + 1, mark.column + 1}, "the tag " + tag + " means nothing here",
         tag.starts_with('!') ? "a plain value cannot begin with !; quote the value: \"" + tag + value + "\"" : "");
  }

  /// Told once: whatever this is part of is too large as well.
  void fail_for_size(const Place& at) {
    if (std::exchange(too_large_, true)) return;
    fail({at.line, at.col}, "with this there are more than " + std::to_string(kMaxValues) + " values", "");
  }

  void fail(const YAML::Mark& mark, const std::string& message, const std::string& hint) {
    fail({mark.line + 1, mark.column + 1}, message, hint);
  }

  void fail(std::pair<int, int> at, const std::string& message, const std::string& hint) {
    failed_ = true;
    diagnostics_.push_back({Severity::error, document_.file, at.first, at.second, "", message, hint});
  }

  Document& document_;
  Diagnostics& diagnostics_;
  std::vector<Node*> anchors_;
  std::vector<Open> stack_;
  bool failed_ = false;
  bool too_large_ = false;
};

/// yaml-cpp's message in the words of a reader who does not know its tokens.
std::string plain_message(const std::string& message) {
  static constexpr std::pair<std::string_view, std::string_view> kWords[] = {
      {"end of map flow not found", "expected `,` or `}`"},
      {"end of sequence flow not found", "expected `,` or `]`"},
      {"end of map not found", "this does not continue the map it stands in"},
      {"end of sequence not found", "this does not continue the list it stands in"},
      {"illegal map value", "a `:` that does not follow a key"},
      {"illegal block entry", "a list element (`- `) cannot begin here"},
      {"illegal map key", "a key cannot begin here"},
      {"illegal flow end", "a closing bracket without its opening one"},
      {"illegal EOF in scalar", "the closing quote is missing"},
      {"unknown token", "a value cannot begin with this character"},
      {"the referenced anchor is not defined", "no anchor of that name"},
      {"bad file", "nested too deeply"},
  };
  for (const auto& [theirs, ours] : kWords) {
    if (message == theirs) return std::string(ours);
  }
  return message;
}

/// Where the parser gives the file's first character for something that was never closed, the end is meant.
std::pair<int, int> place_of(const YAML::Exception& error, std::string_view text) {
  const bool unclosed =
      error.msg.find("flow not found") != std::string::npos && error.mark.line == 0 && error.mark.column == 0;
  if (!error.mark.is_null() && !unclosed) return {error.mark.line + 1, error.mark.column + 1};
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  const auto lines = static_cast<int>(std::count(text.begin(), text.end(), '\n'));
  const std::size_t last = text.rfind('\n');
  const std::size_t col = last == std::string_view::npos ? text.size() : text.size() - last - 1;
  return {lines + 1, static_cast<int>(col) + 1};
}

/// Refuses what no editor writes on purpose: bytes that are not UTF-8, and control characters. yaml-cpp passes both.
bool check_bytes(std::string_view text, const std::string& file, Diagnostics& diagnostics) {
  int line = 1;
  std::size_t line_start = 0;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = sequence_length(text.substr(i));
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool control = byte == 0x7f || (byte < 0x20 && byte != '\n' && byte != '\r' && byte != '\t');
    if (length == 0 || control) {
      const auto col = static_cast<int>(i - line_start) + 1;
      diagnostics.push_back({Severity::error, file, line, col, "",
                             control ? "a control character" : "the file is not valid UTF-8 here", ""});
      return false;
    }
    i += length;
    if (byte == '\n') {
      ++line;
      line_start = i;
    }
  }
  return true;
}

}  // namespace

bool parse_yaml(std::string_view text, Document& document, Diagnostics& diagnostics) {
  const auto refuse = [&](int line, int col, std::string message, std::string hint) {
    diagnostics.push_back({Severity::error, document.file, line, col, "", std::move(message), std::move(hint)});
    return false;
  };
  if (text.size() > kMaxFileBytes) return refuse(0, 0, "the file is larger than 1 MiB", "");
  if (!check_bytes(text, document.file, diagnostics)) return false;
  TreeBuilder builder(document, diagnostics);
  try {
    std::istringstream in{std::string(text)};
    YAML::Parser parser(in);
    if (!parser.HandleNextDocument(builder) || document.root == nullptr) return refuse(1, 1, "the file is empty", "");
    Node* const root = document.root;
    if (parser.HandleNextDocument(builder) && document.root != root) {
      return refuse(document.root->place.line, document.root->place.col, "a second document in the same file",
                    "is it indented less than the first line?");
    }
    document.root = root;
  } catch (const YAML::Exception& error) {
    const auto [line, col] = place_of(error, text);
    return refuse(line, col, "not valid YAML: " + plain_message(error.msg), syntax_hint(text, error.msg, line, col));
  }
  return !builder.failed();
}

}  // namespace outrigger::config
