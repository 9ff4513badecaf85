#include <algorithm>
#include <filesystem>

#include "proxy/base/header_view.hpp"
#include "proxy/config/load_blocks.hpp"
#include "proxy/config/read_file.hpp"
#include "proxy/config/reason_words.hpp"

namespace outrigger::config {
namespace {

using Answer = policy::FallbackConfig::Answer;

/// Fields that say how a message is framed or who made it: those are written by the proxy.
constexpr std::array<std::string_view, 8> kReserved = {"Connection", "Content-Length",    "Keep-Alive", "TE",
                                                       "Trailer",    "Transfer-Encoding", "Upgrade",    "Via"};

bool is_reserved(std::string_view name) {
  constexpr std::string_view kOurs = "X-Outrigger-";
  return iequals(name.substr(0, kOurs.size()), kOurs) ||
         std::any_of(kReserved.begin(), kReserved.end(), [&](std::string_view field) { return iequals(field, name); });
}

void read_headers(Block& block, RespondConfig& respond) {
  Findings& findings = block.findings();
  block.each("headers", [&](const std::string& name, const Value& value, const Place& at) {
    std::string text;
    const Node node{.kind = Node::Kind::scalar, .open = false, .place = at, .text = name, .items = {}, .entries = {}};
    std::string token;
    if (!read_token(findings, {&node, value.path, at}, token, "a header name")) return;
    if (is_reserved(name)) return findings.error(at, value.path, "is written by the proxy itself");
    const bool again = std::any_of(respond.headers.begin(), respond.headers.end(),
                                   [&](const auto& header) { return iequals(header.first, name); });
    if (again) return findings.error(at, value.path, "is given twice");
    if (read_text(findings, value, text)) respond.headers.emplace_back(name, std::move(text));
  });
}

/// Relative to the file that names it.
void read_body_file(Block& block, RespondConfig& respond) {
  const auto value = block.take("body_file");
  std::string name;
  if (!value || !read_text(block.findings(), *value, name, "a file name")) return;
  std::filesystem::path path(name);
  if (path.is_relative() && value->place.file != nullptr) {
    path = std::filesystem::path(*value->place.file).parent_path() / path;
  }
  std::string why;
  const auto text = read_regular_file(path.string(), why);
  if (!text) {
    block.findings().error(value->place, value->path, path.string() + " cannot be read: " + why);
  } else if (text->size() > kMaxFileBytes) {
    block.findings().error(value->place, value->path, path.string() + " is larger than 1MiB");
  } else {
    respond.body = *text;
    respond.body_file = path.string();
  }
}

void read_respond(Block& block, RespondConfig& respond) {
  Findings& findings = block.findings();
  std::uint64_t status = 0;
  if (const auto value = block.require("status"); value && read_integer(findings, *value, status, {200, 599})) {
    respond.status = static_cast<std::uint16_t>(status);
  }
  read_headers(block, respond);
  const auto body = block.take("body");
  if (body) read_lines(findings, *body, respond.body);
  read_body_file(block, respond);
  if (body && !respond.body_file.empty()) {
    findings.error(body->place, body->path, "a response has one body: body or body_file",
                   block.null_removes() ? "null removes an inherited one" : "");
  }
  if ((status == 204 || status == 304) && !respond.body.empty()) {
    findings.error(block.place(), block.path(), "a response of status " + std::to_string(status) + " has no body");
  }
}

}  // namespace

void read_fallback(Block& block, FallbackBlock& fallback) {
  read_occasions(block, "when", fallback.rule);
  const std::string_view answer = block.only_key({"respond", "upstream", "stale"});
  if (answer == "respond") {
    block.block("respond", "respond", [&](Block& respond) { read_respond(respond, fallback.respond); });
  } else if (answer == "upstream") {
    fallback.rule.answer = Answer::upstream;
    block.text("upstream", fallback.upstream);
  } else if (answer == "stale") {
    fallback.rule.answer = Answer::stale;
    bool stale = true;
    block.boolean("stale", stale);
    const auto value = block.take("stale");
    if (!stale)
      block.findings().error(value->place, value->path, "must be true; null, or another answer, switches it off");
  }
}

}  // namespace outrigger::config
