#include "proxy/server/resolver.hpp"

#include <deque>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "proxy/net/socket_address.hpp"

namespace outrigger::server {

struct Resolver::Shared {
  struct Question {
    std::uint64_t id;
    config::HostPort address;
  };

  Lookup lookup;  // the same for all its life
  std::mutex mutex;
  Answered answered;  // empty: nobody wants to know any more
  std::deque<Question> questions;
  unsigned threads = 0;

  /// Answers until there is nothing left to ask.
  static void run(const std::shared_ptr<Shared>& shared) {
    std::unique_lock lock(shared->mutex);
    while (!shared->questions.empty()) {
      const Question question = std::move(shared->questions.front());
      shared->questions.pop_front();
      lock.unlock();
      Addresses addresses = shared->lookup(question.address);
      lock.lock();
      if (shared->answered) shared->answered(question.id, std::move(addresses));
    }
    --shared->threads;
  }
};

Resolver::Resolver(Lookup lookup, Answered answered) : shared_(std::make_shared<Shared>()) {
  shared_->lookup = std::move(lookup);
  shared_->answered = std::move(answered);
}

Resolver::~Resolver() {
  const std::lock_guard lock(shared_->mutex);
  shared_->answered = nullptr;
  shared_->questions.clear();
}

void Resolver::ask(std::uint64_t id, const config::HostPort& address) {
  const std::lock_guard lock(shared_->mutex);
  shared_->questions.push_back({id, address});
  if (shared_->threads == kThreads) return;
  try {
    std::thread([shared = shared_] { Shared::run(shared); }).detach();
    ++shared_->threads;
  } catch (const std::system_error&) {
    // No thread to be had. One that runs takes the question, too; without any there is no answer this time.
    if (shared_->threads != 0) return;
    shared_->questions.pop_back();
    shared_->answered(id, {});
  }
}

Resolver::Addresses system_lookup(const config::HostPort& address) {
  Resolver::Addresses addresses;
  for (const net::SocketAddress& found : net::resolve(address.host, address.port)) addresses.push_back(found.text);
  return addresses;
}

}  // namespace outrigger::server
