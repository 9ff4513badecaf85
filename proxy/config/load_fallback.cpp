#include <algorithm>

#include "proxy/base/header_view.hpp"
#include "proxy/config/load_blocks.hpp"
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

void read_respond(Block& block, RespondConfig& respond) {
  Findings& findings = block.findings();
  std::uint64_t status = 0;
  if (const auto value = block.require("status"); value && read_integer(findings, *value, status, {200, 599})) {
    respond.status = static_cast<std::uint16_t>(status);
  }
  read_headers(block, respond);
  const auto body = block.take("body");
  if (body) read_lines(findings, *body, respond.body);
  if (const auto file = block.take("body_file")) read_named_file(findings, *file, respond.body_file, respond.body);
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
