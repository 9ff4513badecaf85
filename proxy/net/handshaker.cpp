#include "proxy/net/handshaker.hpp"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "proxy/net/transport.hpp"

namespace outrigger::net {
namespace {

// Enough to let a worker go first, and not so much that handshakes stand still beside a busy one.
constexpr int kNiceness = 5;

}  // namespace

class Handshaker::Handshake final : private TransportOwner, private LazyTimer {
 public:
  Handshake(Handshaker& all, Job job)
      : all_(all),
        job_(std::move(job)),
        transport_(
            new Transport(all.loop_.poller, job_.descriptor, *this, std::make_unique<TlsSession>(*job_.context))) {
    set(all_.loop_.wheel, saturating_add(all_.loop_.now(), job_.timeout));
    transport_->watch_read();
  }
  ~Handshake() override { transport_->close(); }

  void hurry(Nanos left) { set(all_.loop_.wheel, std::min(due(), saturating_add(all_.loop_.now(), left))); }

  std::size_t place = 0;

 private:
  void on_readable() override { step(); }
  void on_writable() override { step(); }
  void on_broken() override {}
  void on_due(TimePoint) override { finish("not done in time"); }

  void step() {
    all_.loop_.refresh();
    switch (transport_->handshake()) {
      case IoStatus::ok: return finish({});
      case IoStatus::again: return;
      default: return finish(std::string(transport_->tls()->failure()));
    }
  }

  void finish(std::string failure) {
    clear();
    Outcome outcome{.listener = job_.listener, .peer = std::move(job_.peer), .failure = std::move(failure)};
    if (outcome.failure.empty()) {
      auto released = transport_->release();
      outcome.descriptor = released.descriptor;
      outcome.tls = std::move(released.tls);
    } else {
      transport_->close();
    }
    Handshaker& all = all_;
    all.end(*this);
    all.done_(std::move(outcome));
  }

  Handshaker& all_;
  Job job_;
  Ref<Transport> transport_;
};

Handshaker::Handshaker(Done done) : done_(std::move(done)), thread_([this] { run(); }) {}

Handshaker::~Handshaker() {
  loop_.post([this] { loop_.stop(); });
  thread_.join();
  under_way_.clear();
}

void Handshaker::run() {
  ::pthread_setname_np(::pthread_self(), "handshaker");
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), kNiceness);
  loop_.run();
}

void Handshaker::begin(Job job) {
  loop_.post([this, job = std::move(job)] {
    auto& handshake = under_way_.emplace_back(std::make_unique<Handshake>(*this, job));
    handshake->place = under_way_.size() - 1;
  });
}

void Handshaker::hurry(Nanos left) {
  loop_.post([this, left] {
    for (const auto& handshake : under_way_) handshake->hurry(left);
  });
}

void Handshaker::end(Handshake& handshake) noexcept {
  const std::unique_ptr<Handshake> ended = std::exchange(under_way_[handshake.place], std::move(under_way_.back()));
  under_way_.pop_back();
  if (ended->place < under_way_.size()) under_way_[ended->place]->place = ended->place;
}

}  // namespace outrigger::net
