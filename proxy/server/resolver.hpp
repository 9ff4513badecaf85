// proxy/server/resolver.hpp
//
// Asks the system about names, on threads of its own. The system's resolver (getaddrinfo) is asked because only that
// gives the answers every other program on the host gets: /etc/hosts, search domains, mDNS, whatever nsswitch.conf
// names. It blocks, for as long as it likes, and cannot be told to stop; so each question has a thread while it is
// answered, a few at a time, and whoever asks does not wait for any of them. A thread that hangs at the end of the
// process is left behind: it holds nothing of the process's but what the threads share among themselves.
//
// Threads: asked by one; answers come on threads of the resolver.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "proxy/config/schema.hpp"

namespace outrigger::server {

class Resolver {
 public:
  using Addresses = std::vector<std::string>;
  /// What a name stands for; blocks. Empty: it does not resolve.
  using Lookup = std::function<Addresses(const config::HostPort& address)>;
  using Answered = std::function<void(std::uint64_t id, Addresses addresses)>;

  static constexpr unsigned kThreads = 8;  // that ask at a time

  Resolver(Lookup lookup, Answered answered);
  /// Nothing is answered any more; questions under way are left to themselves.
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  void ask(std::uint64_t id, const config::HostPort& address);

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
};

/// Asks the system.
Resolver::Addresses system_lookup(const config::HostPort& address);

}  // namespace outrigger::server
