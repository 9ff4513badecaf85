// proxy/config/validate.hpp
//
// Rules that need more than one key: names that must exist, values that must fit each other, things that are legal and
// most likely not meant. Run after everything was read, also after errors, so that one run tells all; a rule is left
// out where a value it compares was refused already.
#pragma once

#include <string>

#include "proxy/config/findings.hpp"
#include "proxy/config/schema.hpp"

namespace outrigger::config {

/// Adds errors and warnings about `config` to `findings`, which knows where its values stood.
void validate(const Config& config, Findings& findings);

/// The part of it that is about policies and what they refer to.
void check_policies(const Config& config, Findings& findings);

/// The part of it that is about one chaos block, which stands at `path`.
void check_chaos(const Config& config, const ChaosBlock& chaos, const std::string& path, Findings& findings);

}  // namespace outrigger::config
