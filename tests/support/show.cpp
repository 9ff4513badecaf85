#include "tests/support/show.hpp"

#include <cstdio>

namespace outrigger::test {
namespace {

using namespace exchange;

std::string number(AttemptId id) { return std::to_string(index(id)); }

std::string_view name(Exposure exposure) {
  constexpr std::string_view kNames[] = {"nothing_sent", "partly_sent", "fully_sent"};
  return kNames[static_cast<std::size_t>(exposure)];
}

std::string name(Reason reason) { return std::string{to_string(reason)}; }

std::string instead_of(std::string_view fallback) {
  return fallback.empty() ? std::string{} : " instead-of " + std::string{fallback};
}

struct ShowFact {
  std::string operator()(const RequestReady&) const { return "ready"; }
  std::string operator()(const Tick&) const { return "tick"; }
  std::string operator()(const BodyState& fact) const {
    return std::string{"body"} + (fact.complete ? " complete" : "") + (fact.overflowed ? " overflowed" : "");
  }
  std::string operator()(const Woken&) const { return "woken"; }
  std::string operator()(const Connected& fact) const {
    return (fact.reused ? "reused " : "connected ") + number(fact.id);
  }
  std::string operator()(const RequestSent& fact) const { return "sent " + number(fact.id); }
  std::string operator()(const InterimHead& fact) const {
    return "interim " + number(fact.id) + " " + std::to_string(fact.status);
  }
  std::string operator()(const ResponseHead& fact) const {
    return "head " + number(fact.id) + " " + std::to_string(fact.status);
  }
  std::string operator()(const HeldState& fact) const { return (fact.lost ? "lost " : "in_memory ") + number(fact.id); }
  std::string operator()(const ResponseDone& fact) const { return "done " + number(fact.id); }
  std::string operator()(const Delivered&) const { return "delivered"; }
  std::string operator()(const AttemptFailed& fact) const {
    return "failed " + number(fact.id) + " " + name(fact.why) + " " + std::string{name(fact.exposure)} +
           (fact.reused ? " reused" : "");
  }
  std::string operator()(const DownstreamFailed& fact) const { return "downstream " + name(fact.why); }
  std::string operator()(const Cancelled& fact) const { return "cancelled " + name(fact.why); }
};

struct ShowOrder {
  std::string operator()(const ReadBody&) const { return "read-body"; }
  std::string operator()(const StartAttempt& order) const {
    constexpr std::string_view kReuse[] = {"", " recent", " fresh"};
    return "start " + number(order.id) + " " + std::string{to_string(order.kind)} + " e" +
           std::to_string(policy::index(order.endpoint)) + std::string{kReuse[static_cast<std::size_t>(order.reuse)]};
  }
  std::string operator()(const AbortAttempt& order) const { return "abort " + number(order.id); }
  std::string operator()(const HoldResponse& order) const { return "hold " + number(order.id); }
  std::string operator()(const DropHeld& order) const { return "drop " + number(order.id); }
  std::string operator()(const DropReplay&) const { return "drop-replay"; }
  std::string operator()(const RelayInterim& order) const { return "interim " + number(order.id); }
  std::string operator()(const RelayResponse& order) const {
    return "relay " + number(order.id) + (order.should_not_retry ? " no-retry" : "") +
           (order.truncate ? " truncated" : "") + instead_of(order.fallback);
  }
  std::string operator()(const DiscardResponse& order) const { return "discard " + number(order.id); }
  std::string operator()(const CloseDownstream&) const { return "close"; }
  std::string operator()(const Reply& order) const {
    return "reply " + std::to_string(order.status) + " " + name(order.why) +
           (order.retry_after ? " retry-after " + show(*order.retry_after) : "") +
           (order.should_not_retry ? " no-retry" : "") + instead_of(order.fallback);
  }
  std::string operator()(const ServeCached& order) const { return "serve-cached" + instead_of(order.fallback); }
  std::string operator()(const StoreResponse& order) const { return "store " + number(order.id); }
};

void append(std::string& list, const std::string& item) {
  if (!list.empty()) list += ", ";
  list += item;
}

}  // namespace

std::string show(Nanos duration) {
  char text[32];
  std::snprintf(text, sizeof text, "%.10g", to_ms(duration));
  return text;
}

std::string show(const Event& fact) { return std::visit(ShowFact{}, fact); }

std::string show(const Actions& orders) {
  std::string list;
  for (const Action& order : orders) append(list, std::visit(ShowOrder{}, order));
  return list;
}

std::string show_attempts(const Timeline& timeline) {
  std::string list;
  for (const AttemptRecord& entry : timeline.attempts) {
    std::string item = std::to_string(entry.n) + " " + std::string{to_string(entry.kind)};
    if (entry.ended) item += " " + std::string{to_string(entry.outcome)};
    if (entry.ended && to_string(entry.outcome) != to_string(entry.reason)) item += " " + name(entry.reason);
    item += " @" + show(entry.start) + "+" + (entry.ended ? show(entry.duration) : "");
    append(list, item);
  }
  return list;
}

std::string show_decisions(const Timeline& timeline) {
  std::string list;
  for (const Decision& entry : timeline.decisions) {
    append(list, show(entry.at) + " " + std::string{to_string(entry.part)} + (entry.would ? " would_" : " ") +
                     name(entry.reason) + (entry.attempt == kNoAttempt ? "" : " of " + std::to_string(entry.attempt)));
  }
  return list;
}

std::string show_ending(const Timeline& timeline) {
  return std::to_string(timeline.status) + " " + std::string{to_string(timeline.outcome)} + " " +
         name(timeline.reason) + " " + timeline.who + timeline.stage + " " + show(timeline.duration) +
         (timeline.stop_reason ? " stop " + name(*timeline.stop_reason) : "");
}

}  // namespace outrigger::test
