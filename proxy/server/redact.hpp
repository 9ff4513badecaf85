// proxy/server/redact.hpp
//
// Takes the secrets out of a configuration before people see it: values of request fields that routes set, where their
// names speak of credentials. What is in force keeps them, and so does its hash.
//
// Threads: any.
#pragma once

#include <nlohmann/json.hpp>

namespace outrigger::server {

inline constexpr const char* kRedacted = "(redacted)";

void redact(nlohmann::ordered_json& config);

}  // namespace outrigger::server
