#include "proxy/config/not_yet.hpp"

#include <algorithm>
#include <array>

namespace outrigger::config {
namespace {

struct Line {
  std::string_view block;
  std::string_view key;
  std::string_view value = {};  // empty: the key, whatever its value
};

// clang-format off
constexpr std::array kNotYet = {
    Line{"root", "config_source"},
    Line{"admin", "token_file"},
    Line{"admin", "metrics_listen"},
    Line{"telemetry", "traces"},
};
// clang-format on

}  // namespace

bool is_not_yet(std::string_view block, std::string_view key, std::string_view value) noexcept {
  return std::any_of(kNotYet.begin(), kNotYet.end(),
                     [&](const Line& line) { return line.block == block && line.key == key && line.value == value; });
}

}  // namespace outrigger::config
