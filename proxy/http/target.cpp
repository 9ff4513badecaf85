#include "proxy/http/target.hpp"

#include <algorithm>
#include <cstddef>

#include "proxy/base/header_view.hpp"
#include "proxy/http/chars.hpp"
#include "proxy/http/skip.hpp"

namespace outrigger::http {
namespace {

/// The length of "http://" or "https://" at the beginning; 0 where neither is there.
std::size_t scheme_length(std::string_view target) noexcept {
  if (iequals(target.substr(0, 7), "http://")) return 7;
  return iequals(target.substr(0, 8), "https://") ? 8 : 0;
}

bool is_port(std::string_view digits) noexcept {
  if (digits.size() > 5) return false;
  unsigned port = 0;
  for (char c : digits) {
    if (!is_digit(c)) return false;
    port = port * 10 + static_cast<unsigned>(c - '0');
  }
  return port <= 65535;
}

/// The characters of an IPv6 address and at least two colons; whether it is one, only a resolver could tell.
bool is_bracketed_address(std::string_view host) noexcept {
  if (host.size() < 4 || host.front() != '[' || host.back() != ']') return false;
  std::size_t colons = 0;
  for (char c : host.substr(1, host.size() - 2)) {
    if (c == ':') {
      ++colons;
    } else if (c != '.' && !is(kHexDigit, c)) {
      return false;
    }
  }
  return colons >= 2;
}

bool is_registered_name(std::string_view host) noexcept {
  const char* const end = host.data() + host.size();
  for (const char* at = host.data(); (at = skip_host_name(at, end)) != end; at += 3) {
    if (*at != '%' || end - at < 3 || !is(kHexDigit, at[1]) || !is(kHexDigit, at[2])) return false;
  }
  return !host.empty();
}

/// Where the port's colon is; the size where there is none.
std::size_t port_colon(std::string_view authority) noexcept {
  const std::size_t address_end = authority.starts_with('[') ? authority.find(']') : 0;
  if (address_end == std::string_view::npos) return authority.size();
  const std::size_t colon = authority.find(':', address_end);
  return colon == std::string_view::npos ? authority.size() : colon;
}

/// Writes a path in its one form behind what it has already written.
class PathWriter {
 public:
  PathWriter(Buffer& out, EscapedSlashes mode) noexcept : out_{out}, mode_{mode} {}

  bool write(std::string_view path) {
    out_.clear();
    char* const room = out_.prepare(path.size());
    start_ = end_ = room;
    for (std::size_t i = 0; i < path.size(); ++i) {
      if (path[i] == '/') {
        if (!end_segment()) return false;
        segment_ = end_;
        *end_++ = '/';
      } else if (path[i] == '%') {
        if (!escaped(path.substr(i, 3))) return false;
        i += 2;
      } else if (path[i] == '\\' || !is(kTarget, path[i])) {
        return false;
      } else {
        *end_++ = path[i];
      }
    }
    if (!end_path()) return false;
    out_.commit(static_cast<std::size_t>(end_ - start_));
    return true;
  }

 private:
  bool escaped(std::string_view triplet) noexcept {
    if (triplet.size() < 3) return false;
    const int high = hex_value(triplet[1]);
    const int low = hex_value(triplet[2]);
    if (high < 0 || low < 0) return false;
    const char c = static_cast<char>(high * 16 + low);
    if (c == '\0') return false;
    if (mode_ == EscapedSlashes::reject && (c == '/' || c == '\\')) return false;
    if (is(kUnreserved, c)) {
      *end_++ = c;
    } else {
      for (char kept : triplet) *end_++ = kept;
    }
    return true;
  }

  std::string_view segment() const noexcept { return {segment_, static_cast<std::size_t>(end_ - segment_)}; }

  /// Resolves the segment that has just ended, its leading slash included: "/." goes, "/.." takes the one before along.
  bool end_segment() noexcept {
    if (segment_ == nullptr) return true;
    if (segment() == "/.") {
      end_ = segment_;
    } else if (segment() == "/..") {
      if (segment_ == start_) return false;
      end_ = segment_;
      do --end_;
      while (*end_ != '/');
    }
    return true;
  }

  /// A dot segment at the very end leaves its slash: "/a/." is the directory "/a/".
  bool end_path() noexcept {
    const bool dots = segment() == "/." || segment() == "/..";
    if (!end_segment()) return false;
    if (dots) *end_++ = '/';
    return true;
  }

  Buffer& out_;
  const EscapedSlashes mode_;
  char* start_ = nullptr;
  char* end_ = nullptr;
  char* segment_ = nullptr;  // the slash that began the segment under way
};

/// Whether the path is in its one form as it stands, as far as can be seen without decoding: no escape, and no dot at
/// the beginning of a segment.
bool is_plain(std::string_view path) noexcept {
  const char* const end = path.data() + path.size();
  for (const char* at = skip_plain_path(path.data(), end); at != end; at = skip_plain_path(at + 1, end)) {
    if (*at != '.' || at[-1] == '/') return false;
  }
  return true;
}

}  // namespace

bool is_absolute_target(std::string_view target) noexcept {
  const std::size_t scheme = scheme_length(target);
  if (scheme == 0) return false;
  const std::string_view rest = target.substr(scheme);
  return is_valid_authority(rest.substr(0, rest.find_first_of("/?")));
}

std::optional<Target> normalise_target(std::string_view raw, Method method, EscapedSlashes mode, Buffer& scratch) {
  Target target;
  if (raw == "*") {
    if (method != Method::options) return std::nullopt;
    return Target{TargetForm::asterisk, raw, {}, {}};
  }
  std::string_view path = raw;
  if (!raw.starts_with('/')) {
    if (!is_absolute_target(raw)) return std::nullopt;
    target.form = TargetForm::absolute;
    const std::string_view rest = raw.substr(scheme_length(raw));
    const std::size_t authority_end = std::min(rest.find_first_of("/?"), rest.size());
    target.authority = rest.substr(0, authority_end);
    path = rest.substr(authority_end);
    // "OPTIONS http://host" asks about the whole server, in the form that a server is asked in.
    if (path.empty() && method == Method::options) return Target{TargetForm::asterisk, "*", {}, target.authority};
  }
  const std::size_t query = std::min(path.find('?'), path.size());
  target.query = path.substr(query);
  const char* const end = path.data() + path.size();
  if (skip_target(target.query.data(), end) != end) return std::nullopt;
  path = query == 0 ? std::string_view{"/"} : path.substr(0, query);
  if (is_plain(path)) {
    target.path = path;
    return target;
  }
  if (!PathWriter{scratch, mode}.write(path)) return std::nullopt;
  target.path = scratch.view();
  return target;
}

bool is_valid_authority(std::string_view authority) noexcept {
  const std::size_t colon = port_colon(authority);
  const std::string_view host = authority.substr(0, colon);
  if (colon != authority.size() && !is_port(authority.substr(colon + 1))) return false;
  return host.starts_with('[') ? is_bracketed_address(host) : is_registered_name(host);
}

std::string_view without_port(std::string_view authority) noexcept {
  return authority.substr(0, port_colon(authority));
}

}  // namespace outrigger::http
