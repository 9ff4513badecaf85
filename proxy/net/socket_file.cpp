#include "proxy/net/socket_file.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <utility>

namespace outrigger::net {

SocketFile::SocketFile(std::string path) : path_(std::move(path)) {
  struct stat file {};
  if (::lstat(path_.c_str(), &file) != 0) return;
  device_ = file.st_dev;
  node_ = file.st_ino;
}

SocketFile::SocketFile(SocketFile&& other) noexcept
    : path_(std::exchange(other.path_, {})), device_(other.device_), node_(other.node_) {}

SocketFile::~SocketFile() {
  struct stat file {};
  if (path_.empty() || ::lstat(path_.c_str(), &file) != 0) return;
  if (file.st_dev == device_ && file.st_ino == node_) ::unlink(path_.c_str());
}

}  // namespace outrigger::net
