#include "proxy/http/route_table.hpp"

#include <algorithm>
#include <functional>
#include <unordered_map>
#include <utility>

#include <re2/re2.h>

#include "proxy/http/chars.hpp"
#include "proxy/http/target.hpp"

namespace outrigger::http {
namespace {

struct Segment {
  enum class Kind : unsigned char { literal, any_one, any_rest };
  Kind kind = Kind::literal;
  std::string text;
};

struct CompiledHeader {
  HeaderMatch match;
  std::unique_ptr<const RE2> regex;
};

struct CompiledRoute {
  RouteMatch match;
  std::vector<Segment> segments;  // of path_template
  std::unique_ptr<const RE2> path_regex;
  std::vector<CompiledHeader> headers;
};

bool matches_whole(const RE2& regex, std::string_view text) noexcept {
  return RE2::FullMatch(re2::StringPiece{text.data(), text.size()}, regex);
}

/// Whether a percent-encoded text means `wanted`; malformed encodings stand for themselves.
bool decodes_to(std::string_view encoded, std::string_view wanted) noexcept {
  std::size_t matched = 0;
  for (std::size_t i = 0; i < encoded.size(); ++i, ++matched) {
    char c = encoded[i];
    if (c == '%' && encoded.size() - i > 2 && is(kHexDigit, encoded[i + 1]) && is(kHexDigit, encoded[i + 2])) {
      c = static_cast<char>(hex_value(encoded[i + 1]) * 16 + hex_value(encoded[i + 2]));
      i += 2;
    }
    if (matched == wanted.size() || wanted[matched] != c) return false;
  }
  return matched == wanted.size();
}

bool has_one_of(const std::vector<std::string>& allowed, std::string_view value) noexcept {
  return allowed.empty() || std::find(allowed.begin(), allowed.end(), value) != allowed.end();
}

bool host_matches(std::string_view pattern, std::string_view host) noexcept {
  if (!pattern.starts_with("*.")) return iequals(pattern, host);
  const std::string_view suffix = pattern.substr(1);
  return host.size() > suffix.size() && iequals(suffix, host.substr(host.size() - suffix.size()));
}

bool prefix_matches(std::string_view prefix, std::string_view path) noexcept {
  if (!path.starts_with(prefix)) return false;
  return path.size() == prefix.size() || prefix.ends_with('/') || path[prefix.size()] == '/';
}

bool template_matches(const std::vector<Segment>& segments, std::string_view path) noexcept {
  for (const Segment& segment : segments) {
    if (!path.starts_with('/')) return false;
    path.remove_prefix(1);
    if (segment.kind == Segment::Kind::any_rest) return true;
    const std::string_view given = path.substr(0, path.find('/'));
    if (segment.kind == Segment::Kind::any_one ? given.empty() : given != segment.text) return false;
    path.remove_prefix(given.size());
  }
  return path.empty();
}

bool path_matches(const CompiledRoute& route, std::string_view path) noexcept {
  if (route.match.path) return *route.match.path == path;
  if (route.match.path_prefix) return prefix_matches(*route.match.path_prefix, path);
  if (route.match.path_template) return template_matches(route.segments, path);
  return route.path_regex == nullptr || matches_whole(*route.path_regex, path);
}

bool value_matches(const CompiledHeader& header, std::string_view value) noexcept {
  switch (header.match.kind) {
    case HeaderMatch::Kind::equals: return value == header.match.text;
    case HeaderMatch::Kind::prefix: return value.starts_with(header.match.text);
    case HeaderMatch::Kind::contains: return value.find(header.match.text) != std::string_view::npos;
    case HeaderMatch::Kind::regex: return matches_whole(*header.regex, value);
    case HeaderMatch::Kind::present:
    case HeaderMatch::Kind::absent: break;
  }
  return true;
}

/// Of repeated fields any one may match.
bool header_matches(const CompiledHeader& header, HeaderView fields) noexcept {
  const bool found = std::any_of(fields.begin(), fields.end(), [&](const Field& field) {
    return iequals(field.name, header.match.name) && value_matches(header, field.value);
  });
  return found != (header.match.kind == HeaderMatch::Kind::absent);
}

/// Of repeated parameters any one may match.
bool query_matches(const QueryMatch& match, std::string_view query) noexcept {
  if (query.starts_with('?')) query.remove_prefix(1);
  bool found = false;
  while (!found && !query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view parameter = query.substr(0, end);
    const std::size_t equals = std::min(parameter.find('='), parameter.size());
    found = decodes_to(parameter.substr(0, equals), match.name) &&
            (match.kind != QueryMatch::Kind::equals ||
             decodes_to(parameter.substr(std::min(equals + 1, parameter.size())), match.text));
    query.remove_prefix(std::min(end + 1, query.size()));
  }
  return found != (match.kind == QueryMatch::Kind::absent);
}

bool route_matches(const CompiledRoute& route, const RouteQuery& query) noexcept {
  const RouteMatch& match = route.match;
  if (!path_matches(route, query.path)) return false;
  if (!has_one_of(match.methods, query.method) || !has_one_of(match.listeners, query.listener)) return false;
  if (match.host && !host_matches(*match.host, without_port(query.host))) return false;
  return std::all_of(route.headers.begin(), route.headers.end(),
                     [&](const CompiledHeader& header) { return header_matches(header, query.fields); }) &&
         std::all_of(match.query.begin(), match.query.end(),
                     [&](const QueryMatch& wanted) { return query_matches(wanted, query.query); });
}

/// Compiles one route and notes what is wrong with it.
class RouteCompiler {
 public:
  RouteCompiler(std::size_t position, std::vector<RouteError>& errors) : position_{position}, errors_{errors} {}

  CompiledRoute compile(const RouteMatch& match) {
    CompiledRoute route;
    route.match = match;
    check_host(match);
    check_paths(match);
    if (match.path_template) route.segments = compile_template(*match.path_template);
    if (match.path_regex) route.path_regex = compile_regex("path_regex", *match.path_regex);
    for (std::size_t i = 0; i < match.methods.size(); ++i) check_name(indexed("methods", i), match.methods[i]);
    for (std::size_t i = 0; i < match.headers.size(); ++i) compile_header(match.headers[i], i, route);
    for (std::size_t i = 0; i < match.query.size(); ++i) {
      if (match.query[i].name.empty()) fail(indexed("query", i) + ".name", "must not be empty");
    }
    return route;
  }

 private:
  static std::string indexed(const char* key, std::size_t index) {
    return std::string{key} + "[" + std::to_string(index) + "]";
  }
  void fail(std::string key, std::string message) {
    errors_.push_back({position_, std::move(key), std::move(message)});
  }

  void check_name(std::string key, const std::string& name) {
    if (name.empty() || !all(kToken, name)) fail(std::move(key), "must be a token, got '" + name + "'");
  }

  void check_host(const RouteMatch& match) {
    if (!match.host) return;
    const std::string_view name = match.host->starts_with("*.") ? std::string_view{*match.host}.substr(2) : *match.host;
    if (!is_valid_authority(name) || without_port(name) != name || name.find('*') != std::string_view::npos) {
      fail("host", "must be a host name without port, or *.suffix, got '" + *match.host + "'");
    }
  }

  void check_paths(const RouteMatch& match) {
    const int kinds = match.path.has_value() + match.path_prefix.has_value() + match.path_template.has_value() +
                      match.path_regex.has_value();
    if (kinds > 1) fail("path", "only one of path, path_prefix, path_template and path_regex may be given");
    if (match.path && *match.path != "*") check_normal("path", *match.path);
    if (match.path_prefix) check_normal("path_prefix", *match.path_prefix);
  }

  /// A path that is not in the one form in which paths arrive would never match.
  void check_normal(const char* key, const std::string& path) {
    if (!path.starts_with('/')) return fail(key, "must begin with '/', got '" + path + "'");
    Buffer scratch;
    const std::optional<Target> target = normalise_target(path, Method::get, EscapedSlashes::keep, scratch);
    if (!target || !target->query.empty()) {
      fail(key, "is not the path of a request, got '" + path + "'");
    } else if (target->path != path) {
      fail(key, "never matches: requests are normalised to '" + std::string{target->path} + "'");
    }
  }

  std::vector<Segment> compile_template(const std::string& text) {
    std::vector<Segment> segments;
    if (!text.starts_with('/')) fail("path_template", "must begin with '/', got '" + text + "'");
    std::string_view rest = text;
    while (rest.starts_with('/')) {
      rest.remove_prefix(1);
      const std::string_view segment = rest.substr(0, rest.find('/'));
      rest.remove_prefix(segment.size());
      segments.push_back(compile_segment(segment));
      if (segments.back().kind == Segment::Kind::any_rest && !rest.empty()) {
        fail("path_template", "'" + std::string{segment} + "' must be the last segment");
      }
    }
    return segments;
  }

  Segment compile_segment(std::string_view text) {
    if (text.find_first_of("{}") == std::string_view::npos) {
      const std::string as_path = "/" + std::string{text};
      check_normal("path_template", as_path);
      return {Segment::Kind::literal, std::string{text}};
    }
    std::string_view name = text;
    name = name.size() > 1 ? name.substr(1, name.size() - 2) : std::string_view{};
    const bool rest = name.ends_with("...");
    if (rest) name.remove_suffix(3);
    const bool named = !name.empty() && all(kToken, name) && name.find_first_of("{}") == std::string_view::npos;
    if (!text.starts_with('{') || !text.ends_with('}') || !named) {
      fail("path_template", "a variable is a whole segment, {name} or {name...}, got '" + std::string{text} + "'");
    }
    return {rest ? Segment::Kind::any_rest : Segment::Kind::any_one, std::string{name}};
  }

  std::unique_ptr<const RE2> compile_regex(const std::string& key, const std::string& pattern) {
    auto regex = std::make_unique<const RE2>(pattern, RE2::Quiet);
    if (!regex->ok()) fail(key, "is not a regular expression: " + regex->error());
    return regex;
  }

  void compile_header(const HeaderMatch& match, std::size_t index, CompiledRoute& route) {
    const std::string key = indexed("headers", index);
    check_name(key + ".name", match.name);
    CompiledHeader header{match, nullptr};
    if (match.kind == HeaderMatch::Kind::regex) header.regex = compile_regex(key + ".regex", match.text);
    route.headers.push_back(std::move(header));
  }

  const std::size_t position_;
  std::vector<RouteError>& errors_;
};

struct PathHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view path) const noexcept { return std::hash<std::string_view>{}(path); }
};

}  // namespace

struct RouteTable::Built {
  std::vector<CompiledRoute> routes;
  // Positions, ascending: the routes of one exact path, and all others.
  std::unordered_map<std::string, std::vector<std::size_t>, PathHash, std::equal_to<>> by_path;
  std::vector<std::size_t> others;
};

RouteTable::RouteTable() : built_{std::make_unique<const Built>()} {}
RouteTable::~RouteTable() = default;
RouteTable::RouteTable(RouteTable&&) noexcept = default;
RouteTable& RouteTable::operator=(RouteTable&&) noexcept = default;

std::size_t RouteTable::size() const noexcept { return built_->routes.size(); }

std::optional<std::size_t> RouteTable::find(const RouteQuery& query) const noexcept {
  static const std::vector<std::size_t> kNone;
  const Built& built = *built_;
  const auto exact = built.by_path.empty() ? built.by_path.end() : built.by_path.find(query.path);
  const std::vector<std::size_t>& same_path = exact == built.by_path.end() ? kNone : exact->second;
  auto a = same_path.begin();
  auto b = built.others.begin();
  while (a != same_path.end() || b != built.others.end()) {
    const bool take_a = b == built.others.end() || (a != same_path.end() && *a < *b);
    const std::size_t position = take_a ? *a++ : *b++;
    if (route_matches(built.routes[position], query)) return position;
  }
  return std::nullopt;
}

std::variant<RouteTable, std::vector<RouteError>> build_route_table(const std::vector<RouteMatch>& routes) {
  auto built = std::make_unique<RouteTable::Built>();
  std::vector<RouteError> errors;
  for (std::size_t position = 0; position < routes.size(); ++position) {
    built->routes.push_back(RouteCompiler{position, errors}.compile(routes[position]));
    if (routes[position].path) {
      built->by_path[*routes[position].path].push_back(position);
    } else {
      built->others.push_back(position);
    }
  }
  if (!errors.empty()) return errors;
  RouteTable table;
  table.built_ = std::move(built);
  return table;
}

}  // namespace outrigger::http
