#include "proxy/server/redact.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

namespace outrigger::server {
namespace {

using nlohmann::ordered_json;

bool is_secret(std::string name) {
  constexpr std::array<std::string_view, 6> kWords = {"auth", "cookie", "key", "password", "secret", "token"};
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return std::ranges::any_of(kWords, [&](std::string_view word) { return name.find(word) != std::string::npos; });
}

}  // namespace

void redact(ordered_json& config) {
  for (ordered_json& route : config["routes"]) {
    const auto edits = route.find("request_headers");
    if (edits == route.end()) continue;
    for (const char* kind : {"set", "add"}) {
      const auto fields = edits->find(kind);
      if (fields == edits->end()) continue;
      for (auto& [name, value] : fields->items()) {
        if (is_secret(name)) value = kRedacted;
      }
    }
  }
}

}  // namespace outrigger::server
