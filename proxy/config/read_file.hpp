// proxy/config/read_file.hpp
//
// Files as text, with the reason in words where one cannot be had. Nothing larger than a configuration may be is read.
#pragma once

#include <optional>
#include <string>

namespace outrigger::config {

/// The whole file, or one byte more than kMaxFileBytes, so that the limit is noticed; nullopt and `why` otherwise.
std::optional<std::string> read_file(const std::string& path, std::string& why);

/// The same for a path that may lead to a pipe or a device, which would be waited for.
std::optional<std::string> read_regular_file(const std::string& path, std::string& why);

}  // namespace outrigger::config
