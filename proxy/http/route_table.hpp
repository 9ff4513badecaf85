// proxy/http/route_table.hpp
//
// Which route takes a request: the first whose every condition holds. Order is the author's and never re-judged by
// specificity, so that reading the file from the top answers the question. Routes for one exact path are found through
// a hash; all others are asked in order, and the two are merged by position, so the answer is that of the plain list.
//
// Regular expressions are RE2's, in linear time whatever the pattern; each must match the whole text.
// Threads: a built table is immutable. Cost: no allocation to match (RE2 builds its automata on first use).
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "proxy/base/header_view.hpp"

namespace outrigger::http {

struct HeaderMatch {
  enum class Kind : unsigned char { equals, prefix, contains, regex, present, absent };
  std::string name;
  Kind kind = Kind::present;
  std::string text;  // not used by present and absent
};

struct QueryMatch {
  enum class Kind : unsigned char { equals, present, absent };
  std::string name;
  Kind kind = Kind::present;
  std::string text;
};

/// A route's conditions; an empty or absent one always holds.
struct RouteMatch {
  std::vector<std::string> listeners;        // names; empty: any
  std::optional<std::string> host;           // exact, or "*.suffix"
  std::optional<std::string> path;           // at most one of the four path kinds
  std::optional<std::string> path_prefix;    // by segments: /api matches /api and /api/x, not /apix
  std::optional<std::string> path_template;  // {name}: one segment that is not empty; {name...}, last: the rest
  std::optional<std::string> path_regex;
  std::vector<std::string> methods;
  std::vector<HeaderMatch> headers;
  std::vector<QueryMatch> query;
};

/// What a request offers to be matched.
struct RouteQuery {
  std::string_view listener = {};
  std::string_view host = {};   // perhaps with a port
  std::string_view path = {};   // normalised
  std::string_view query = {};  // with or without its '?'
  std::string_view method = {};
  HeaderView fields = {};
};

struct RouteError {
  std::size_t route = 0;
  std::string key;  // below `match`, e.g. "path_regex" or "headers[1].regex"
  std::string message;
};

class RouteTable {
 public:
  RouteTable();
  ~RouteTable();
  RouteTable(RouteTable&&) noexcept;
  RouteTable& operator=(RouteTable&&) noexcept;

  /// The position of the first route that matches; nullopt where none does.
  std::optional<std::size_t> find(const RouteQuery& query) const noexcept;
  std::size_t size() const noexcept;

 private:
  friend std::variant<RouteTable, std::vector<RouteError>> build_route_table(const std::vector<RouteMatch>& routes);
  struct Built;
  std::unique_ptr<const Built> built_;
};

/// Compiles the routes, or tells every error there is in them.
std::variant<RouteTable, std::vector<RouteError>> build_route_table(const std::vector<RouteMatch>& routes);

}  // namespace outrigger::http
