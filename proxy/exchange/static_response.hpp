// proxy/exchange/static_response.hpp
//
// A response that is written in the configuration: a fallback's, or a fault that is injected on purpose.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace outrigger::exchange {

struct StaticResponse {
  std::uint16_t status = 200;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
};

}  // namespace outrigger::exchange
