// proxy/config/not_yet.hpp
//
// The keys of the configuration language that this version does not act on. They are refused by name: a key
// that is silently ignored is a protection that its author believes in and does not have. Supporting one means removing
// its line from the table, and nothing else here.
#pragma once

#include <string_view>

namespace outrigger::config {

/// Whether a key of a block is known to the language but not supported. `block` is the kind of block: root, admin,
/// listener, upstream, route, telemetry.
bool is_not_yet(std::string_view block, std::string_view key) noexcept;

}  // namespace outrigger::config
