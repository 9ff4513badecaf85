#include "proxy/config/load_blocks.hpp"

namespace outrigger::config {
namespace {

using http::HeaderMatch;
using http::QueryMatch;
using http::RouteMatch;

/// `any`, one name, or a list of names; none means any.
void read_listeners(Block& block, RouteMatch& match) {
  const auto value = block.take("listener");
  if (!value) return;
  if (value->node->kind == Node::Kind::sequence) {
    if (value->node->items.empty()) block.findings().error(value->place, value->path, "must name a listener, or any");
    block.list("listener", [&](const Value& item, std::size_t) {
      std::string name;
      if (read_text(block.findings(), item, name, "the name of a listener")) match.listeners.push_back(name);
    });
    return;
  }
  std::string name;
  if (!read_text(block.findings(), *value, name, "the name of a listener, a list of them, or any")) return;
  if (name != "any") match.listeners.push_back(name);
}

void read_optional(Block& block, std::string_view key, std::optional<std::string>& out) {
  std::string text;
  const auto value = block.take(key);
  if (value && read_text(block.findings(), *value, text)) out = std::move(text);
}

void read_methods(Block& block, RouteMatch& match) {
  block.list("methods", [&](const Value& value, std::size_t) {
    std::string name;
    if (read_method(block.findings(), value, name)) match.methods.push_back(std::move(name));
  });
}

/// `present: false` asks for a field that is not there.
template <class Kind>
Kind read_presence(Block& block) {
  bool present = true;
  block.boolean("present", present);
  return present ? Kind::present : Kind::absent;
}

void read_header(Block& block, HeaderMatch& header) {
  using Kind = HeaderMatch::Kind;
  if (const auto name = block.require("name")) read_token(block.findings(), *name, header.name, "a header name");
  const std::string_view key = block.only_key({"equals", "prefix", "contains", "regex", "present"});
  if (key == "present") {
    header.kind = read_presence<Kind>(block);
  } else if (!key.empty()) {
    header.kind = key == "equals"     ? Kind::equals
                  : key == "prefix"   ? Kind::prefix
                  : key == "contains" ? Kind::contains
                                      : Kind::regex;
    block.text(key, header.text);
  }
}

void read_query(Block& block, QueryMatch& query) {
  using Kind = QueryMatch::Kind;
  if (const auto name = block.require("name")) read_text(block.findings(), *name, query.name);
  const std::string_view key = block.only_key({"equals", "present"});
  if (key == "present") query.kind = read_presence<Kind>(block);
  if (key != "equals") return;
  query.kind = Kind::equals;
  // `?flag=` is a value like any other.
  const auto value = block.take(key);
  if (!value->node->text.empty() || value->node->kind != Node::Kind::scalar) block.text(key, query.text);
}

void read_priority(Block& block, RouteConfig& route) {
  if (!block.take("priority")) return;
  Priority priority = Priority::standard;
  block.choice("priority", priority, kPriorityNames);
  route.priority = priority;
}

void read_mirror(Block& block, RouteConfig& route) {
  MirrorConfig& mirror = route.mirror.emplace();
  if (const auto upstream = block.require("upstream")) read_text(block.findings(), *upstream, mirror.upstream);
  block.fraction("fraction", mirror.fraction);
  block.integer("max_in_flight", mirror.max_in_flight, {1, 100'000});
}

/// An upstream, or an answer of the route's own.
void read_destination(Block& block, RouteConfig& route) {
  const auto respond = block.take("respond");
  if (!respond) {
    block.require("upstream");
  } else if (block.has("upstream")) {
    block.findings().error(respond->place, respond->path, "a route has an upstream or an answer of its own, not both");
  }
  block.text("upstream", route.upstream);
  if (respond) block.inner(*respond, "respond", [&](Block& answer) { read_respond(answer, route.respond.emplace()); });
}

/// The list replaces the usual one; an empty list allows none.
void read_upgrade(Block& block, RouteConfig& route) {
  const auto value = block.take("upgrade");
  if (!value) return;
  route.upgrade.clear();
  block.elements(*value, [&](const Value& item, std::size_t) {
    std::string protocol;
    if (read_token(block.findings(), item, protocol, "a protocol")) route.upgrade.push_back(std::move(protocol));
  });
}

void read_route(Block& block, RouteConfig& route) {
  route.at = block.findings().position(block.place());
  block.block("match", "match", [&](Block& match) { read_match(match, route.match); });
  block.text("policy", route.policy);
  read_destination(block, route);
  read_priority(block, route);
  read_route_edits(block, route);
  block.block("mirror", "mirror", [&](Block& mirror) { read_mirror(mirror, route); });
  read_upgrade(block, route);
  block.duration("tunnel_idle_timeout", route.tunnel_idle_timeout,
                 {std::chrono::milliseconds{10}, std::chrono::hours{24}});
}

}  // namespace

void read_match(Block& block, RouteMatch& match) {
  Findings& findings = block.findings();
  read_listeners(block, match);
  read_optional(block, "host", match.host);
  read_optional(block, "path", match.path);
  read_optional(block, "path_prefix", match.path_prefix);
  read_optional(block, "path_template", match.path_template);
  read_optional(block, "path_regex", match.path_regex);
  read_methods(block, match);
  block.list("headers", [&](const Value& value, std::size_t) {
    Block header(findings, "header", value);
    read_header(header, match.headers.emplace_back());
    header.finish();
  });
  block.list("query", [&](const Value& value, std::size_t) {
    Block query(findings, "query", value);
    read_query(query, match.query.emplace_back());
    query.finish();
  });
}

void load_routes(Block& root, Config& config) {
  root.list("routes", [&](const Value& value, std::size_t) {
    Block block(root.findings(), "route", value);
    read_route(block, config.routes.emplace_back());
    block.finish();
  });
}

}  // namespace outrigger::config
