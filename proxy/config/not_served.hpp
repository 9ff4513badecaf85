// proxy/config/not_served.hpp
//
// Blocks that are read and checked, and that nothing acts on yet. They are refused where a configuration is to be
// served or checked for it: whoever writes a fallback must not find out in an outage that there is none.
#pragma once

#include "proxy/config/findings.hpp"
#include "proxy/config/schema.hpp"

namespace outrigger::config {

/// Adds an error for each of them to `findings`.
void refuse_what_does_not_act(const Config& config, Findings& findings);

}  // namespace outrigger::config
