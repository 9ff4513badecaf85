// proxy/config/dump.hpp
//
// The effective configuration as JSON, spelled like the file: every key that this version knows, with the default where
// the file is silent. It answers "what does it really do?" without a look into the code.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "proxy/config/schema.hpp"

namespace outrigger::config {

/// The whole configuration as a JSON value.
nlohmann::ordered_json to_json(const Config& config);

/// The same as text, indented by two blanks.
std::string dump(const Config& config);

}  // namespace outrigger::config
