#include <algorithm>
#include <array>
#include <span>

#include "proxy/base/header_view.hpp"
#include "proxy/config/load_blocks.hpp"
#include "proxy/config/read_file.hpp"
#include "proxy/http/target.hpp"

namespace outrigger::config {
namespace {

using Names = std::span<const std::string_view>;
using Headers = std::vector<std::pair<std::string, std::string>>;

constexpr std::size_t kMaxEdits = 64;  // of one kind in a block

/// Fields that say how a message is framed, are meant for one hop, or say who passed it on.
constexpr std::array<std::string_view, 9> kReserved = {
    "Connection",        "Content-Length", "Keep-Alive", "Proxy-Connection", "TE", "Trailer",
    "Transfer-Encoding", "Upgrade",        "Via"};
/// What else the proxy itself says to upstreams, or does not pass on: a second word about it would contradict.
constexpr std::array<std::string_view, 14> kReservedInRequests = {"Host",
                                                                  "Expect",
                                                                  "Max-Forwards",
                                                                  "Proxy-Authenticate",
                                                                  "Proxy-Authorization",
                                                                  "X-Forwarded-For",
                                                                  "X-Forwarded-Proto",
                                                                  "X-Forwarded-Host",
                                                                  "X-Forwarded-Client-Cert",
                                                                  "X-Request-Id",
                                                                  "X-Request-Priority",
                                                                  "X-Request-Timeout",
                                                                  "Grpc-Timeout",
                                                                  "X-Envoy-Expected-Rq-Timeout-Ms"};
/// And to clients.
constexpr std::array<std::string_view, 4> kReservedInResponses = {"Date", "Proxy-Authenticate", "Proxy-Authorization",
                                                                  "X-Should-Retry"};

bool is_one_of(Names names, std::string_view name) {
  return std::any_of(names.begin(), names.end(), [&](std::string_view each) { return iequals(each, name); });
}

bool has(const Headers& headers, std::string_view name) {
  return std::any_of(headers.begin(), headers.end(), [&](const auto& header) { return iequals(header.first, name); });
}

/// Whether the proxy may be told about that field.
bool accept_field(Findings& findings, const Place& at, const std::string& path, std::string_view name, Names reserved) {
  constexpr std::string_view kOurs = "X-Outrigger-";
  const bool ours = iequals(name.substr(0, kOurs.size()), kOurs);
  if (!ours && !is_one_of(kReserved, name) && !is_one_of(reserved, name)) return true;
  findings.error(at, path, "is written by the proxy itself", iequals(name, "Host") ? "see rewrite.host" : "");
  return false;
}

/// Reads a map of fields; a name stands in it once.
void read_fields(Block& block, std::string_view key, Names reserved, Headers& headers) {
  Findings& findings = block.findings();
  block.each(key, [&](const std::string& name, const Value& value, const Place& at) {
    std::string text;
    const Node node{.kind = Node::Kind::scalar, .open = false, .place = at, .text = name, .items = {}, .entries = {}};
    std::string token;
    if (!read_token(findings, {&node, value.path, at}, token, "a header name")) return;
    if (!accept_field(findings, at, value.path, name, reserved)) return;
    if (has(headers, name)) return findings.error(at, value.path, "is given twice");
    if (read_text(findings, value, text)) headers.emplace_back(name, std::move(text));
  });
}

/// A path is kept in the one form in which paths are sent, so that the upstream reads it as it is written.
void read_path(Block& block, std::string_view key, std::optional<std::string>& out) {
  std::string path;
  const auto value = block.take(key);
  if (!value || !read_text(block.findings(), *value, path)) return;
  Buffer scratch;
  const auto target = http::normalise_target(path, http::Method::get, http::EscapedSlashes::keep, scratch);
  if (!path.starts_with('/') || !target || !target->query.empty()) {
    block.findings().error(value->place, value->path, "must be a path without a query, got \"" + path + "\"",
                           path.starts_with('/') ? "" : "it begins with /");
  } else {
    out = std::string(target->path);
  }
}

void read_rewrite(Block& block, const RouteConfig& route, RewriteConfig& rewrite) {
  read_path(block, "path", rewrite.path);
  read_path(block, "prefix", rewrite.prefix);
  std::string host;
  if (const auto value = block.take("host"); value && read_text(block.findings(), *value, host)) {
    if (http::is_valid_authority(host)) {
      rewrite.host = host;
    } else {
      block.findings().error(value->place, value->path, "must be a host name, got \"" + host + "\"",
                             "for example api.example.com");
    }
  }
  const std::string path = join_path(block.path(), "prefix");
  if (rewrite.path && rewrite.prefix) block.findings().error_at(path, "a path is rewritten once: path or prefix");
  if (rewrite.prefix && !route.match.path_prefix) {
    block.findings().error_at(path, "takes the place of match.path_prefix, which the route does not have");
  }
}

void read_edits(Block& block, Names reserved, HeaderEditsConfig& edits) {
  Findings& findings = block.findings();
  read_fields(block, "set", reserved, edits.set);
  read_fields(block, "add", reserved, edits.add);
  block.list("remove", [&](const Value& value, std::size_t) {
    std::string name;
    if (!read_token(findings, value, name, "a header name")) return;
    if (!accept_field(findings, value.place, value.path, name, reserved)) return;
    if (has(edits.set, name)) return findings.error(value.place, value.path, "is also set: set replaces the field");
    edits.remove.push_back(std::move(name));
  });
  for (const auto& [key, size] : {std::pair{"set", edits.set.size()}, std::pair{"add", edits.add.size()},
                                  std::pair{"remove", edits.remove.size()}}) {
    if (size > kMaxEdits) {
      findings.error_at(join_path(block.path(), key),
                        "must have at most " + std::to_string(kMaxEdits) + " fields, got " + std::to_string(size));
    }
  }
}

}  // namespace

void read_respond(Block& block, RespondConfig& respond) {
  Findings& findings = block.findings();
  std::uint64_t status = 0;
  if (const auto value = block.require("status"); value && read_integer(findings, *value, status, {200, 599})) {
    respond.status = static_cast<std::uint16_t>(status);
  }
  read_fields(block, "headers", {}, respond.headers);
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

void read_route_edits(Block& block, RouteConfig& route) {
  block.block("rewrite", "rewrite", [&](Block& rewrite) { read_rewrite(rewrite, route, route.rewrite); });
  block.block("request_headers", "request_headers",
              [&](Block& edits) { read_edits(edits, kReservedInRequests, route.request_headers); });
  block.block("response_headers", "response_headers",
              [&](Block& edits) { read_edits(edits, kReservedInResponses, route.response_headers); });
}

}  // namespace outrigger::config
