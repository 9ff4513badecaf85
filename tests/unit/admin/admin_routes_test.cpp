#include "proxy/admin/admin_routes.hpp"

#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "tests/unit/admin/fake_backend.hpp"

using namespace outrigger;
using namespace outrigger::admin;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

struct Api {
  FakeBackend backend;
  std::vector<std::string> allowed_hosts;
  int answers = 0;

  AdminResponse send(AdminRequest request) {
    if (request.host.empty()) request.host = "127.0.0.1:9901";
    AdminResponse response{0, {}, {}, {}};
    answer(request, allowed_hosts, backend, [&](AdminResponse given) {
      response = std::move(given);
      ++answers;
    });
    return response;
  }
  AdminResponse get(std::string_view target) { return send({"GET", target, {}, {}, {}}); }
  AdminResponse post(std::string_view target, std::string_view body = {}) {
    return send({"POST", target, {}, {}, body});
  }
};

}  // namespace

TEST_SUITE("admin") {
  TEST_CASE("health is ok while the process lives and readiness tells why not") {
    Api api;
    CHECK(api.get("/healthz").status == 200);
    CHECK(api.get("/healthz").body == "ok");
    CHECK(api.get("/readyz").body == "ok");
    api.backend.unready = "draining";
    CHECK(api.get("/readyz").status == 503);
    CHECK(api.get("/readyz").body == "draining");
    CHECK(api.get("/healthz").status == 200);
  }

  TEST_CASE("metrics are Prometheus text") {
    Api api;
    const AdminResponse response = api.get("/metrics");
    CHECK(response.body == "outrigger_draining 0\n");
    CHECK(response.content_type == "text/plain; version=0.0.4; charset=utf-8");
  }

  TEST_CASE("documents of the process are passed on as JSON") {
    Api api;
    CHECK(json::parse(api.get("/config").body)["generation"] == 7);
    CHECK(json::parse(api.get("/budgets").body).contains("budgets"));
    for (const std::string list :
         {"circuits", "rate_limits", "bulkheads", "adaptive_limits", "adaptive_throttles", "upstreams"}) {
      CAPTURE(list);
      CHECK(json::parse(api.get("/" + list).body).contains(list));
    }
    CHECK(json::parse(api.get("/policies").body).contains("policies"));
    CHECK(json::parse(api.get("/policies/payments.Charge").body)["key"] == "payments.Charge");
    CHECK(api.get("/policies/unknown").status == 404);
    CHECK(api.get("/config").content_type == "application/json");
  }

  TEST_CASE("the index lists every call") {
    Api api;
    const AdminResponse response = api.get("/");
    CHECK(response.status == 200);
    for (const char* call :
         {"/healthz", "/metrics", "/timelines", "/reload", "/drain", "/log-level", "/config/validate",
          "/policies/{key}", "/circuits/{name}/force_open", "DELETE /chaos/{policy}"}) {
      CAPTURE(call);
      CHECK(response.body.find(call) != std::string::npos);
    }
  }

  TEST_CASE("a call that does not exist is 404 with a JSON body") {
    Api api;
    for (const char* target :
         {"/nothing", "/timelines/", "/timelines/a/b", "/metrics/", "//", "", "*", "http://x/metrics",
          "/circuits//reset", "/circuits/reset", "/circuits/a/b/reset", "/circuits/a", "/circuits/a/open"}) {
      CAPTURE(target);
      const AdminResponse response = api.get(target);
      CHECK(response.status == 404);
      CHECK(json::parse(response.body)["status"] == 404);
    }
  }

  TEST_CASE("another method is 405 with those that are allowed, and changes nothing") {
    Api api;
    AdminResponse response = api.get("/drain");
    CHECK(response.status == 405);
    CHECK(response.allow == "POST");
    CHECK_FALSE(api.backend.drained);
    response = api.post("/metrics");
    CHECK(response.status == 405);
    CHECK(response.allow == "GET, HEAD");
    CHECK(api.send({"HEAD", "/drain", {}, {}, {}}).allow == "POST");
    CHECK_FALSE(api.backend.drained);
    CHECK(api.send({"DELETE", "/reload", {}, {}, {}}).status == 405);
    CHECK(api.backend.reloads == 0);
    CHECK(api.get("/chaos/payments.Charge").allow == "POST, DELETE");
    CHECK(api.backend.chaos_of.empty());
  }

  TEST_CASE("faults are ordered for a policy and a time, and ended") {
    Api api;
    api.backend.chaos_result.until = "2024-05-01T12:34:56Z";
    AdminResponse response = api.post("/chaos/payments.Charge?ttl=90s", "seed: 4");
    CHECK(response.status == 200);
    CHECK(json::parse(response.body) ==
          json{{"policy", "payments.Charge"}, {"until", "2024-05-01T12:34:56Z"}, {"generation", 8}});
    CHECK(api.backend.chaos_of == "payments.Charge");
    CHECK(api.backend.chaos_block == "seed: 4");
    CHECK(api.backend.chaos_ttl == 90s);
    api.backend.chaos_result.until.clear();
    response = api.send({"DELETE", "/chaos/a%2Eb", {}, {}, {}});
    CHECK(response.status == 200);
    CHECK(json::parse(response.body) == json{{"policy", "a.b"}, {"generation", 8}});
    CHECK(api.backend.chaos_ended == "a.b");
  }

  TEST_CASE("the time of ordered faults is a minute unless it says something from a second to a day") {
    Api api;
    CHECK(api.post("/chaos/a").status == 200);
    CHECK(api.backend.chaos_ttl == 1min);
    for (const auto& [text, ttl] : {std::pair{"1s", Nanos{1s}}, {"24h", Nanos{24h}}, {"1%2E5s", Nanos{1500ms}}}) {
      CAPTURE(text);
      CHECK(api.post("/chaos/a?ttl=" + std::string{text}).status == 200);
      CHECK(api.backend.chaos_ttl == ttl);
    }
    api.backend.chaos_of.clear();
    for (const char* query : {"ttl=", "ttl=0", "ttl=60", "ttl=999ms", "ttl=24.1h", "ttl=-1s", "tll=5s", "ttl=1s&x=1"}) {
      CAPTURE(query);
      CHECK(api.post("/chaos/a?" + std::string{query}).status == 400);
    }
    CHECK(api.backend.chaos_of.empty());
  }

  TEST_CASE("an order that is refused says why") {
    using Kind = ChaosResult::Kind;
    Api api;
    const auto refuse = [&](Kind kind) {
      api.backend.chaos_result = {.kind = kind, .errors = {"one", "two"}};
      const AdminResponse response = api.post("/chaos/a");
      return std::pair{response.status, json::parse(response.body)};
    };
    CHECK(refuse(Kind::no_policy).first == 404);
    CHECK(refuse(Kind::no_order).first == 404);
    CHECK(refuse(Kind::not_now).first == 409);
    CHECK(refuse(Kind::not_now).second["error"] == "one");
    CHECK(refuse(Kind::not_valid).first == 422);
    CHECK(refuse(Kind::not_valid).second["errors"] == json{"one", "two"});
  }

  TEST_CASE("a foreign page may neither order faults nor end them") {
    Api api;
    for (const char* method : {"POST", "DELETE"}) {
      CHECK(api.send({method, "/chaos/a", {}, "https://evil.example", {}}).status == 403);
    }
    CHECK(api.backend.chaos_of.empty());
    CHECK(api.backend.chaos_ended.empty());
  }

  TEST_CASE("a Host that is neither an address nor localhost nor allowed is refused") {
    const std::vector<std::string> allowed{"outrigger.internal"};
    for (const char* host : {"127.0.0.1", "127.0.0.1:9901", "10.1.2.3:80", "[::1]:9901", "[::1]", "localhost",
                             "LocalHost:9901", "outrigger.internal", "Outrigger.Internal:9901"}) {
      CAPTURE(host);
      CHECK(host_allowed(host, allowed));
    }
    for (const char* host :
         {"", ":9901", "evil.example", "evil.example:9901", "localhost.evil.example", "127.0.0.1.evil.example",
          "[evil]", "[::1", "127.0.0.1:9901:1", "1.2.3", "outrigger.internal.evil.example"}) {
      CAPTURE(host);
      CHECK_FALSE(host_allowed(host, allowed));
    }
  }

  TEST_CASE("a request under a foreign Host is refused before anything is looked up") {
    Api api;
    for (const char* target : {"/metrics", "/nothing", "/healthz"}) {
      CHECK(api.send({"GET", target, "evil.example", {}, {}}).status == 403);
    }
    CHECK(api.send({"POST", "/drain", "evil.example", {}, {}}).status == 403);
    CHECK_FALSE(api.backend.drained);
  }

  TEST_CASE("a change from a foreign page is refused, one from the own page or from a program is not") {
    Api api;
    for (const char* origin : {"http://evil.example", "null", "https://127.0.0.1:9902",
                               "http://127.0.0.1:9901.evil.example", "file://127.0.0.1:9901"}) {
      CAPTURE(origin);
      CHECK(api.send({"POST", "/reload", "127.0.0.1:9901", origin, {}}).status == 403);
    }
    CHECK(api.backend.reloads == 0);
    CHECK(api.send({"POST", "/reload", "127.0.0.1:9901", "http://127.0.0.1:9901", {}}).status == 200);
    CHECK(api.send({"POST", "/reload", "127.0.0.1:9901", {}, {}}).status == 200);
    CHECK(api.backend.reloads == 2);
    CHECK(api.send({"GET", "/metrics", "127.0.0.1:9901", "http://evil.example", {}}).status == 200);
  }

  TEST_CASE("timelines are filtered as asked") {
    Api api;
    const AdminResponse response = api.get(
        "/timelines?policy=payments%2ECharge&reason=http_503&status=5xx&kind=retry&min_ms=1.5&since=1700000000&limit="
        "7");
    REQUIRE(response.status == 200);
    CHECK(json::parse(response.body)["timelines"][0]["request_id"] == "b");
    const telemetry::TimelineFilter& filter = api.backend.filter;
    CHECK(filter.policy == "payments.Charge");
    CHECK(filter.reason == Reason::http_503);
    CHECK(filter.status_min == 500);
    CHECK(filter.status_max == 599);
    CHECK(filter.kind == exchange::AttemptKind::retry);
    CHECK(filter.min_duration == 1500us);
    CHECK(filter.since_us == 1'700'000'000'000'000);
    CHECK(api.backend.limit == 7);
  }

  TEST_CASE("what was only computed is asked for with its prefix") {
    Api api;
    CHECK(api.get("/timelines?reason=would_circuit_open").status == 200);
    CHECK(api.backend.filter.reason == Reason::circuit_open);
    CHECK(api.backend.filter.would);
    CHECK(api.get("/timelines?reason=circuit_open").status == 200);
    CHECK_FALSE(api.backend.filter.would);
    CHECK(api.get("/timelines?reason=would_nonsense").status == 400);
  }

  TEST_CASE("an exact status is taken, empty parameters ask for nothing, and there is a default limit") {
    Api api;
    CHECK(api.get("/timelines?status=404&policy=&kind").status == 200);
    CHECK(api.backend.filter.status_min == 404);
    CHECK(api.backend.filter.status_max == 404);
    CHECK(api.backend.filter.policy.empty());
    CHECK(api.backend.limit == 100);
    CHECK(api.get("/timelines?limit=1000").status == 200);
    CHECK(api.backend.limit == 1000);
  }

  TEST_CASE("a parameter that is not understood is said, not ignored") {
    Api api;
    for (const char* query :
         {"reason=nonsense", "status=abc", "status=6xx", "status=-1", "kind=other", "min_ms=-1", "min_ms=nan",
          "min_ms=1e300", "since=yesterday", "limit=0", "limit=1001", "limit=7x", "polcy=x"}) {
      CAPTURE(query);
      CHECK(api.get(std::string{"/timelines?"} + query).status == 400);
    }
    CHECK(api.answers == 13);
  }

  TEST_CASE("one timeline is found by its decoded id or is 404") {
    Api api;
    CHECK(json::parse(api.get("/timelines/a%20b").body)["request_id"] == "a b");
    CHECK(api.get("/timelines/unknown").status == 404);
    CHECK(api.get("/timelines/%zz%4").status == 404);
  }

  TEST_CASE("an answer that comes later is given once") {
    Api api;
    api.backend.answer_later = true;
    api.get("/timelines");
    CHECK(api.answers == 0);
    int answers = 0;
    answer({"GET", "/timelines", "localhost", {}, {}}, {}, api.backend, [&](const AdminResponse&) { ++answers; });
    api.backend.later();
    CHECK(answers == 1);
  }

  TEST_CASE("a reload answers with the generation, or with the errors and the one that stays") {
    Api api;
    CHECK(json::parse(api.post("/reload").body) == json{{"generation", 7}});
    api.backend.reload_result = {false, 6, {"a.yaml:1:2: error: version: \"is\" required"}, {}};
    const AdminResponse response = api.post("/reload");
    CHECK(response.status == 422);
    CHECK(json::parse(response.body)["generation"] == 6);
    CHECK(json::parse(response.body)["errors"][0] == "a.yaml:1:2: error: version: \"is\" required");
    CHECK_FALSE(json::parse(response.body).contains("warnings"));
  }

  TEST_CASE("a reload says its warnings, whether it is in force or not") {
    Api api;
    api.backend.reload_result.warnings = {"a.yaml:3:4: warning: policies.a: no route uses this policy"};
    const json warned{{"generation", 7}, {"warnings", api.backend.reload_result.warnings}};
    CHECK(json::parse(api.post("/reload").body) == warned);
    api.backend.reload_result.ok = false;
    CHECK(json::parse(api.post("/reload").body)["warnings"] == warned["warnings"]);
  }

  TEST_CASE("a circuit is commanded by its decoded name, and only where there is one") {
    Api api;
    const std::pair<const char*, CircuitCommand> calls[] = {{"reset", CircuitCommand::reset},
                                                            {"force_open", CircuitCommand::force_open},
                                                            {"force_close", CircuitCommand::force_close},
                                                            {"auto", CircuitCommand::automatic}};
    for (const auto& [call, command] : calls) {
      CAPTURE(call);
      const AdminResponse response = api.post(std::string{"/circuits/pay%6Dents.Charge.2/"} + call);
      CHECK(response.status == 200);
      CHECK(json::parse(response.body)["circuits"][0]["state"] == "open");
      CHECK(api.backend.circuit == "payments.Charge.2");
      CHECK(api.backend.command == command);
    }
    api.backend.command.reset();
    CHECK(api.post("/circuits/unknown/reset").status == 404);
    CHECK(api.get("/circuits/payments/reset").status == 405);
    CHECK(api.get("/circuits/payments/reset").allow == "POST");
    CHECK(api.post("/circuits").status == 405);
    CHECK_FALSE(api.backend.command);
  }

  TEST_CASE("drain, log level and validation reach the process") {
    Api api;
    CHECK(api.post("/drain").status == 200);
    CHECK(api.backend.drained);
    CHECK(json::parse(api.post("/log-level?level=debug").body)["level"] == "debug");
    CHECK(api.backend.log_level == "debug");
    CHECK(api.post("/log-level?level=loud").status == 400);
    CHECK(api.post("/log-level").status == 400);
    CHECK(json::parse(api.post("/config/validate", "version: 1\n").body)["valid"] == true);
    CHECK(api.backend.validated == "version: 1\n");
  }
}
