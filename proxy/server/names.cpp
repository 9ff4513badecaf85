#include "proxy/server/names.hpp"

#include <utility>

namespace outrigger::server {

Names::Names(net::IoContext& io, Resolver::Lookup lookup, telemetry::LogWriter& log, std::function<void()> changed)
    : io_(io),
      log_(log),
      changed_(std::move(changed)),
      timer_(io.get_executor()),
      table_(net::entropy()),
      resolver_(std::move(lookup), [this](std::uint64_t id, Resolver::Addresses addresses) {
        {
          const std::lock_guard lock(mutex_);
          answers_.push_back({id, std::move(addresses)});
        }
        arrived_.notify_one();
        net::asio::post(io_, [this] { turn(); });
      }) {}

void Names::learn_now(const config::Config& config) {
  table_.add(config, net::steady_now());
  ask_due();
  for (;;) {
    take_answers();
    tell(table_.expire(net::steady_now()));
    if (table_.settled()) break;
    std::unique_lock lock(mutex_);
    arrived_.wait_until(lock, table_.wakeup(), [this] { return !answers_.empty(); });
  }
  rearm();
}

void Names::learn(const config::Config& config, std::function<void()> done) {
  table_.add(config, net::steady_now());
  learnt_ = std::move(done);
  turn();
}

void Names::refresh() {
  table_.hurry(net::steady_now());
  ask_due();
  rearm();
}

void Names::ask_due() {
  for (const NameTable::Question& question : table_.take_due(net::steady_now())) {
    resolver_.ask(question.id, question.address);
  }
}

/// Looks at what has arrived, what is over and what is due.
void Names::turn() {
  bool changes = take_answers();
  changes |= tell(table_.expire(net::steady_now()));
  ask_due();
  rearm();
  if (changes) changed_();
  if (learnt_ && table_.settled()) std::exchange(learnt_, nullptr)();
}

bool Names::take_answers() {
  std::vector<Answer> answers;
  {
    const std::lock_guard lock(mutex_);
    answers.swap(answers_);
  }
  bool changes = false;
  for (Answer& answer : answers) {
    changes |= tell(table_.answer(answer.id, std::move(answer.addresses), net::steady_now()));
  }
  return changes;
}

/// Logs events; true where addresses are others than before.
bool Names::tell(const NameTable::Events& events) {
  using Kind = NameTable::Event::Kind;
  using telemetry::LogLevel;
  bool changes = false;
  for (const NameTable::Event& event : events) {
    const std::initializer_list<telemetry::LogField> fields = {
        {"upstream", event.upstream},
        {"endpoint", event.endpoint},
        {"addresses", static_cast<std::int64_t>(event.addresses)}};
    switch (event.kind) {
      case Kind::failing: log_.write(LogLevel::warn, "an endpoint's name does not resolve", fields); break;
      case Kind::recovered: log_.write(LogLevel::info, "an endpoint's name resolves again", fields); break;
      case Kind::changed:
        log_.write(LogLevel::info, "an endpoint's name has other addresses", fields);
        changes = true;
        break;
    }
  }
  return changes;
}

void Names::rearm() {
  const TimePoint at = table_.wakeup();
  if (at == kNever) {
    timer_.cancel();
    return;
  }
  timer_.expires_at(at);
  timer_.async_wait([this](const net::error_code& error) {
    if (!error) turn();
  });
}

}  // namespace outrigger::server
