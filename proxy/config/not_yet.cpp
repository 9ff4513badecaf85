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

constexpr std::array kNotYet = {
    Line{"root", "config_source"},
    Line{"admin", "token_file"},
    Line{"admin", "metrics_listen"},
    Line{"listener", "tls"},
    Line{"address", "unix:"},
    Line{"upstream", "tls"},
    Line{"upstream", "dns"},
    Line{"upstream", "health_check"},
    Line{"upstream", "outlier_detection"},
    Line{"upstream", "panic"},
    Line{"upstream", "max_connections"},
    Line{"upstream", "max_pending"},
    Line{"upstream", "balance", "random"},
    Line{"upstream", "balance", "hash"},
    Line{"route", "respond"},
    Line{"route", "rewrite"},
    Line{"route", "request_headers"},
    Line{"route", "response_headers"},
    Line{"telemetry", "traces"},
};

}  // namespace

bool is_not_yet(std::string_view block, std::string_view key, std::string_view value) noexcept {
  return std::any_of(kNotYet.begin(), kNotYet.end(),
                     [&](const Line& line) { return line.block == block && line.key == key && line.value == value; });
}

}  // namespace outrigger::config
