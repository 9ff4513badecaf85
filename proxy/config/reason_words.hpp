// proxy/config/reason_words.hpp
//
// Lists that say which ends of a request or an attempt are meant: reasons by name, groups of them, and statuses, in any
// mixture: `[connect_failure, reset, 500, 502-504]`. A group is only a shorter way to write its reasons
// (proxy/policy/reason_groups.hpp).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "proxy/config/block.hpp"
#include "proxy/policy/fallback.hpp"
#include "proxy/policy/reason_set.hpp"
#include "proxy/policy/status_set.hpp"

namespace outrigger::config {

/// Reads `failure_on`: what a circuit counts against its upstream. An absent key leaves both sets as they are.
void read_failures(Block& block, std::string_view key, policy::ReasonSet& reasons, policy::StatusSet& statuses);

/// Reads `when`, which must be there: what a fallback answers for.
void read_occasions(Block& block, std::string_view key, policy::FallbackConfig& rule);

/// Reads how an attempt may fail without a response.
bool read_fault(Findings& findings, const Value& value, Reason& out);

/// The words for a set of reasons, groups first.
std::vector<std::string> format_reasons(const policy::ReasonSet& reasons);

}  // namespace outrigger::config
