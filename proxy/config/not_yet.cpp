#include "proxy/config/not_yet.hpp"

#include <algorithm>
#include <array>

namespace outrigger::config {
namespace {

struct Line {
  std::string_view block;
  std::string_view key;
};

constexpr std::array kNotYet = {
    Line{"root", "config_source"},
    Line{"admin", "token_file"},
    Line{"admin", "metrics_listen"},
    Line{"telemetry", "traces"},
};

}  // namespace

bool is_not_yet(std::string_view block, std::string_view key) noexcept {
  return std::any_of(kNotYet.begin(), kNotYet.end(),
                     [&](const Line& line) { return line.block == block && line.key == key; });
}

}  // namespace outrigger::config
