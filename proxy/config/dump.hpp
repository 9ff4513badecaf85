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

/// A JSON value as text, on one line unless `indent` says by how many blanks. Where a text in it is not UTF-8, which
/// names of files may be, it has replacement characters.
std::string json_text(const nlohmann::ordered_json& value, int indent = -1);

/// The whole configuration as text, indented by two blanks.
std::string dump(const Config& config);

}  // namespace outrigger::config
