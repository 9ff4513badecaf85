// proxy/config/scalars.hpp
//
// The words of the configuration language: durations with a unit, sizes, fractions, status sets, instants,
// addresses, names. Pure functions from text to value, so that every spelling can be tested without a file around it. A
// refusal carries what is wrong and, where the writer's intention can be guessed, what to write instead; it never
// guesses the value.
//
// Numbers are read by std::from_chars: no locale, no hexadecimal, no signs where none make sense.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "proxy/base/time.hpp"
#include "proxy/config/schema.hpp"
#include "proxy/policy/status_set.hpp"

namespace outrigger::config {

/// Why a scalar was refused.
struct ScalarError {
  std::string message;  // continues "must be ..." as a sentence of its own
  std::string hint;
};

template <class T>
using Parsed = std::variant<T, ScalarError>;

/// `250us`, `10ms`, `1.5s`, `2m`, `1h` and `0`; in whole microseconds.
Parsed<Nanos> parse_duration(std::string_view text);
/// `512B`, `64KiB`, `1MiB`, `2GiB` and `0`, in bytes.
Parsed<std::uint64_t> parse_size(std::string_view text);
/// `0.2` or `20%`, both bounds included.
Parsed<double> parse_fraction(std::string_view text, double min = 0, double max = 1);
/// A decimal number without exponent or sign.
Parsed<double> parse_number(std::string_view text);
/// A whole number without sign.
Parsed<std::uint64_t> parse_integer(std::string_view text);
/// `true` or `false`.
Parsed<bool> parse_bool(std::string_view text);

/// Both ends included.
struct StatusRange {
  std::uint16_t first = 0;
  std::uint16_t last = 0;
};
/// `503`, `5xx`, `502-504`.
Parsed<StatusRange> parse_statuses(std::string_view text);
/// `p50`..`p99.9`, as a fraction.
Parsed<double> parse_percentile(std::string_view text);
/// An instant in the form of RFC 3339, from 1970 on, in microseconds of Unix time. A leap second is the one after it.
Parsed<std::int64_t> parse_timestamp(std::string_view text);

/// `host:port`, `[v6]:port` or `unix:/path`; the port may be 0 where `any_port` says that the system may choose one.
Parsed<HostPort> parse_address(std::string_view text, bool any_port);
/// Whether only this host can reach the address: 127.0.0.0/8, ::1, localhost, a Unix socket.
bool is_loopback(const HostPort& address) noexcept;

/// Why this cannot be a policy key; an empty message where it can.
ScalarError check_policy_key(std::string_view key);
/// The same for names of listeners, upstreams, budgets, circuits and so on, which become metric labels, and `instance`.
ScalarError check_name(std::string_view name);

/// As the file would say it: the largest unit that is exact.
std::string format_duration(Nanos duration);
std::string format_size(std::uint64_t bytes);
/// At most six decimals, without those that say nothing.
std::string format_number(double number);
/// The fewest words that stand for a set: classes, ranges, single statuses.
std::vector<std::string> format_statuses(const policy::StatusSet& statuses);
std::string format_percentile(double quantile);
std::string format_timestamp(std::int64_t unix_us);

}  // namespace outrigger::config
