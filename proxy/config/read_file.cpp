#include "proxy/config/read_file.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "proxy/config/node.hpp"

namespace outrigger::config {

std::optional<std::string> read_file(const std::string& path, std::string& why) {
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  std::string text(kMaxFileBytes + 1, '\0');
  if (in) in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!in.is_open() || in.bad()) {
    why = std::strerror(errno != 0 ? errno : EIO);
    return std::nullopt;
  }
  text.resize(static_cast<std::size_t>(in.gcount()));
  return text;
}

std::optional<std::string> read_regular_file(const std::string& path, std::string& why) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    why = "no such file";
    return std::nullopt;
  }
  if (!std::filesystem::is_regular_file(path, ignored)) {
    why = "not a regular file";
    return std::nullopt;
  }
  return read_file(path, why);
}

}  // namespace outrigger::config
