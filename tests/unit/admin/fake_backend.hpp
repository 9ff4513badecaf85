// tests/unit/admin/fake_backend.hpp
//
// A process that remembers what the admin API asked of it.
#pragma once

#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "proxy/admin/admin_backend.hpp"

namespace outrigger::admin {

struct FakeBackend final : AdminBackend {
  std::optional<std::string> unready;
  ReloadResult reload_result{true, 7, {}, {}};
  std::vector<std::string> hosts;
  std::string broken;  // what validating dies of
  std::string failed;  // the call that did, and of what
  telemetry::TimelineFilter filter;
  std::size_t limit = 0;
  std::string validated;
  std::string log_level;
  int reloads = 0;
  bool drained = false;
  std::string circuit;
  std::optional<CircuitCommand> command;
  std::string chaos_of;
  std::string chaos_block;
  std::string chaos_ended;
  Nanos chaos_ttl{0};
  ChaosResult chaos_result{.generation = 8};
  bool answer_later = false;
  std::function<void()> later;
  std::function<void()> on_asked = [] {};  // for timelines

  std::span<const std::string> allowed_hosts() override { return hosts; }
  void call_failed(std::string_view target, std::string_view why) override {
    failed = std::string{target} + ": " + std::string{why};
  }
  std::optional<std::string> unready_reason() override { return unready; }
  std::string metrics_text() override { return "outrigger_draining 0\n"; }
  std::string config_json() override { return R"({"generation":7})"; }
  std::string budgets_json() override { return R"({"budgets":[]})"; }
  std::string circuits_json() override { return R"({"circuits":[]})"; }
  std::string rate_limits_json() override { return R"({"rate_limits":[]})"; }
  std::string bulkheads_json() override { return R"({"bulkheads":[]})"; }
  std::string adaptive_limits_json() override { return R"({"adaptive_limits":[]})"; }
  std::string adaptive_throttles_json() override { return R"({"adaptive_throttles":[]})"; }
  std::string upstreams_json() override { return R"({"upstreams":[]})"; }
  std::string policies_json() override { return R"({"policies":[]})"; }
  std::optional<std::string> policy_json(std::string_view key) override {
    if (key != "payments.Charge") return std::nullopt;
    return R"({"key":"payments.Charge"})";
  }
  std::string validate(std::string_view yaml) override {
    if (!broken.empty()) throw std::runtime_error(broken);
    validated = yaml;
    return R"({"valid":true,"errors":[],"warnings":[]})";
  }
  void timelines(const telemetry::TimelineFilter& asked, std::size_t most,
                 std::function<void(std::vector<std::string>)> done) override {
    filter = asked;
    limit = most;
    later = [done = std::move(done)] { done({R"({"request_id":"b"})", R"({"request_id":"a"})"}); };
    if (!answer_later) later();
    on_asked();
  }
  void timeline(const std::string& request_id, std::function<void(std::optional<std::string>)> done) override {
    if (request_id == "a b") return done(R"({"request_id":"a b"})");
    done(std::nullopt);
  }
  void reload(std::function<void(ReloadResult)> done) override {
    ++reloads;
    done(reload_result);
  }
  void drain() override { drained = true; }
  std::optional<std::string> command_circuit(std::string_view name, CircuitCommand asked) override {
    if (name == "unknown") return std::nullopt;
    circuit = name;
    command = asked;
    return R"({"circuits":[{"state":"open"}]})";
  }
  void order_chaos(std::string_view policy, std::string_view yaml, Nanos ttl,
                   std::function<void(ChaosResult)> done) override {
    chaos_of = policy;
    chaos_block = yaml;
    chaos_ttl = ttl;
    done(chaos_result);
  }
  void end_chaos(std::string_view policy, std::function<void(ChaosResult)> done) override {
    chaos_ended = policy;
    done(chaos_result);
  }
  bool set_log_level(std::string_view level) override {
    if (level != "debug") return false;
    log_level = level;
    return true;
  }
};

}  // namespace outrigger::admin
