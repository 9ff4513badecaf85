// proxy/net/socket_file.hpp
//
// The file of a Unix socket that this process listens on. It is removed while the socket still listens, so that at no
// moment a client finds a file that leads nowhere, and only if it is still ours: a process that comes after us may
// already have put its own in the place.
//
// Threads: one owner.
#pragma once

#include <sys/types.h>

#include <string>

namespace outrigger::net {

class SocketFile {
 public:
  /// The file that was just bound.
  explicit SocketFile(std::string path);
  SocketFile(SocketFile&& other) noexcept;
  SocketFile& operator=(SocketFile&&) = delete;
  ~SocketFile();

 private:
  std::string path_;  // empty: moved away
  dev_t device_ = 0;
  ino_t node_ = 0;
};

}  // namespace outrigger::net
