// proxy/server/name_table.hpp
//
// What the names of endpoints stand for, and when they have to be asked about again. Asking is somebody else's
// (resolver.hpp), and so is the clock: answers and times are arguments.
//
// A name keeps its last addresses whatever goes wrong, because an upstream that has not moved is reachable while its
// resolver is not. A name that has none yet is asked about every second. Refreshes are spread by a tenth either way, so
// that a fleet that started together does not ask together. An answer that comes after `dns.timeout` counts like any
// other; only nobody waits for it, and no second question is asked meanwhile.
//
// Addresses are kept in order, so that a resolver that turns its answers round changes nothing.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "proxy/base/rng.hpp"
#include "proxy/base/time.hpp"
#include "proxy/config/schema.hpp"
#include "proxy/config/snapshot.hpp"

namespace outrigger::server {

class NameTable {
 public:
  using Id = std::uint64_t;
  using Addresses = std::vector<std::string>;  // numeric, with port

  static constexpr std::size_t kMaxEndpoints = 10'000;  // of one upstream; what is beyond is left out

  struct Question {
    Id id = 0;
    config::HostPort address;
  };

  /// What an answer, or its absence, has come to.
  struct Event {
    enum class Kind : std::uint8_t { changed, failing, recovered };
    Kind kind{};
    std::string upstream;
    std::string endpoint;
    std::size_t addresses = 0;

    friend bool operator==(const Event&, const Event&) = default;
  };
  using Events = std::vector<Event>;

  explicit NameTable(std::uint64_t seed) : rng_(seed) {}

  /// Takes up the names of a configuration beside those it has; new ones are due at once.
  void add(const config::Config& config, TimePoint now);
  /// Forgets the names that the configuration does not have.
  void keep_only(const config::Config& config);
  /// Makes every name due that is not being asked about.
  void hurry(TimePoint now);

  /// The names that are due; they are being asked about from now on.
  std::vector<Question> take_due(TimePoint now);
  /// Takes an answer; none at all means that the name does not resolve.
  Events answer(Id id, Addresses addresses, TimePoint now);
  /// Gives up on the questions whose time is over.
  Events expire(TimePoint now);
  /// When something is due or over; kNever: not before the next call.
  TimePoint wakeup() const noexcept;
  /// Whether every name has had an answer, or the time for one.
  bool settled() const noexcept;

  /// The endpoints of each upstream, in the order of the configuration. An address that an upstream has several times
  /// is one endpoint with the sum of the weights.
  config::Resolved endpoints(const config::Config& config) const;

 private:
  struct Name {
    Id id = 0;
    config::HostPort address;
    Nanos refresh{};
    Nanos timeout{};
    Addresses addresses;
    TimePoint due{};
    TimePoint expires = kNever;  // of the question under way
    bool asked = false;          // one is under way
    bool tried = false;
    bool failing = false;
  };
  using Key = std::pair<std::string, std::string>;  // upstream, endpoint as it is written

  static constexpr Nanos kWithoutAny = std::chrono::seconds{1};
  void schedule(Name& name, TimePoint now) noexcept;
  static void fail(const Key& key, Name& name, Events& events);

  Rng rng_;
  Id last_id_ = 0;
  std::map<Key, Name> names_;
};

}  // namespace outrigger::server
