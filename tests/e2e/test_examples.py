"""Each policy's example file does what its comments promise: it runs as it is, but for its addresses."""
import collections
import concurrent.futures
import os
import re
import signal
import threading
import time
import unittest

from harness import REPOSITORY, EndToEnd, story
from upstream import OK, Answer, Upstream, unavailable

FOLDER = os.path.join(REPOSITORY, "config", "examples")
LISTEN = re.compile(r"(\blisten: *)127\.0\.0\.1:\d+")
ENDPOINT = re.compile(r"\b127\.0\.0\.1:(900\d)\b")
FIRST, SECOND, THIRD = "9001", "9002", "9003"  # ports of endpoints in the files
CRITICAL = [("X-Request-Priority", "critical")]


def failing(_request):
    return unavailable()


class Example(EndToEnd):
    def example(self, name, scripts=(), flags=()):
        """A rig of that file; `scripts` by the port that an endpoint has there, the others answer OK."""
        with open(os.path.join(FOLDER, f"{name}.yaml"), encoding="utf-8") as file:
            text = file.read()
        scripts = dict(scripts)
        servers = {port: Upstream(scripts.pop(port, ())) for port in sorted(set(ENDPOINT.findall(text)))}
        self.assertEqual(scripts, {}, "scripts for endpoints that the file has not")
        text = ENDPOINT.sub(lambda found: servers[found[1]].name, LISTEN.sub(r"\g<1>127.0.0.1:0", text))
        proxy = self.start(text + "\nadmin: { listen: 127.0.0.1:0 }\n",
                           arguments=("run", "--config", "{config}", *flags))
        proxy.main = "outbound"
        return self.before(list(servers.values()), proxy, signal.SIGINT)  # which does not wait for drain.delay

    def holding(self):
        """An event that lets held answers go, at the latest when the test is over, and a script that waits for it."""
        release = threading.Event()
        self.addCleanup(release.set)
        return release, lambda request: Answer(body=b"ok", hold=release if "/held" in request.target else None)

    def held(self, rig, target, count, headers=()):
        """So many requests that have arrived at the upstream and wait there."""
        before = len(rig.heads())
        clients = [rig.client().ask("GET", target, headers) for _ in range(count)]
        self.becomes(lambda: len(rig.heads()), before + count)
        return clients

    def refusal(self, response):
        return response.status, response.get("X-Outrigger-Reason")

    def all_at_once(self, rig, count, *args, **more):
        """The answers to `count` equal requests of a few clients."""
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda _: rig.fetch(*args, **more), range(count)))


class Retries(Example):
    def test_failures_are_tried_again_elsewhere_as_often_as_the_file_says(self):
        rig = self.example("retries", {FIRST: failing, SECOND: failing})
        self.check(rig, rig.fetch(), 503, "http_5xx", ["primary http_503"] + ["retry http_503"] * 2,
                   stop="attempts_exhausted", upstream=3)
        self.check(rig, rig.fetch("GET", "/reports/1"), 503, "http_5xx", ["primary http_503"] + ["retry http_503"] * 3,
                   stop="attempts_exhausted", upstream=7)
        self.assertEqual([len([request for request in up.heads if request.target == "/reports/1"]) for up in rig.ups],
                         [2, 2])

    def test_a_post_is_tried_again_only_with_its_key(self):
        rig = self.example("retries", {FIRST: failing, SECOND: failing})
        self.check(rig, rig.fetch("POST", "/charges", body=b"1"), 503, "http_5xx", ["primary http_503"],
                   stop="http_non_idempotent")
        self.check(rig, rig.fetch("POST", "/charges", [("Idempotency-Key", "a")], body=b"1"), 503, "http_5xx",
                   ["primary http_503", "retry http_503"], stop="attempts_exhausted")

    def test_a_wait_longer_than_allowed_is_left_to_the_client(self):
        later = Answer(429, headers=[("Retry-After", "3")])
        rig = self.example("retries", {FIRST: [later], SECOND: [later]})
        response = rig.fetch("GET", "/reports/1")
        self.assertEqual((response.status, response.get("Retry-After"), len(rig.heads())), (429, "3", 1))


class Budgets(Example):
    def retries(self, path, requests):
        """How many retries a budget admits to requests that all fail, and what stopped them."""
        rig = self.example("budgets", {FIRST: failing})
        answers = self.all_at_once(rig, requests, "GET", path)
        self.assertEqual({answer.status for answer in answers}, {503})
        stops = collections.Counter(rig.timeline(answer)["stop_reason"] for answer in answers)
        self.assertLessEqual(set(stops), {"attempts_exhausted", "budget_denied"})
        return len(rig.heads()) - requests, stops["budget_denied"]

    def test_by_time_it_is_so_many_a_second_and_a_share_of_the_requests(self):
        retries, denied = self.retries("/a", 30)
        self.assertTrue(30 <= retries <= 36, retries)  # 3 a second for 10 s, or 20 %
        self.assertGreater(denied, 0)

    def test_tokens_are_taken_two_at_a_time(self):
        retries, denied = self.retries("/c", 60)
        self.assertTrue(50 <= retries < 100, retries)  # what is there at first, and what is refilled meanwhile
        self.assertGreater(denied, 0)

    def test_credit_is_spent_and_only_success_earns_it(self):
        retries, denied = self.retries("/d", 80)
        self.assertEqual(retries, 100)  # of 160
        self.assertGreater(denied, 0)

    def test_by_load_a_few_are_always_admitted(self):
        rig = self.example("budgets", {FIRST: failing})
        for path in ("/b", "/e"):
            self.check(rig, rig.fetch("GET", path), 503, "http_5xx", ["primary http_503"] + ["retry http_503"] * 2,
                       stop="attempts_exhausted")


class Circuits(Example):
    def test_half_of_twenty_calls_failing_opens_it_and_what_clients_do_wrong_does_not(self):
        def answer(request):
            return Answer(404) if request.target.endswith("missing") else unavailable()

        rig = self.example("circuit", {FIRST: answer, SECOND: answer})
        self.assertEqual({rig.fetch("GET", "/v1/missing").status for _ in range(25)}, {404})
        self.assertEqual(rig.metric("circuit_state", circuit="payments.Charge"), 0)
        statuses = [rig.fetch("GET", "/v1/charge") for _ in range(25)]
        self.assertEqual({self.refusal(answer) for answer in statuses}, {(503, None)})
        refused = rig.fetch("GET", "/v1/charge")
        self.assertEqual(self.refusal(refused), (503, "circuit_open"))
        self.assertIn(refused.get("Retry-After"), ("4", "5", "6"))
        self.assertEqual(len(rig.heads()), 50)
        self.becomes(lambda: rig.metric("circuit_state", circuit="payments.Charge"), 2)
        self.assertEqual(rig.proxy.call("/circuits/payments.Charge/force_close", "POST", body=b"").status, 200)
        self.assertEqual(self.refusal(rig.fetch("GET", "/v1/charge")), (503, None))

    def test_an_endpoint_that_keeps_failing_is_passed_over(self):
        rig = self.example("circuit", {FIRST: failing})
        statuses = [rig.fetch("GET", "/report").status for _ in range(60)]
        self.assertEqual((statuses.count(503), statuses.count(200)), (5, 55))
        self.assertEqual([len(up.heads) for up in rig.ups], [5, 55])


class RateLimits(Example):
    def test_a_tenant_has_its_burst_and_is_told_what_is_left(self):
        rig = self.example("rate_limit")
        client, tenant = rig.client(), [("X-Tenant", "a")]
        answers = [client.fetch("GET", "/", tenant)]
        self.assertRegex(answers[0].joined("RateLimit"), r'"search\.Query";r=39;')
        while answers[-1].status == 200:
            answers.append(client.fetch("GET", "/", tenant))
        self.assertGreater(len(answers), 40)
        self.assertEqual(self.refusal(answers[-1]) + (answers[-1].get("Retry-After"),), (429, "rate_limited", "1"))
        self.assertEqual(len(rig.up.heads), len(answers) - 1)
        self.assertEqual(client.fetch("GET", "/", [("X-Tenant", "b")]).status, 200)

    def test_exports_wait_for_their_turn(self):
        rig = self.example("rate_limit")
        begun = time.monotonic()
        self.assertEqual([rig.fetch("GET", "/export").status for _ in range(3)], [200] * 3)
        self.assertGreaterEqual(time.monotonic() - begun, 0.39)


class Bulkheads(Example):
    def test_the_last_places_are_for_those_that_matter_and_a_wait_has_an_end(self):
        release, script = self.holding()
        rig = self.example("bulkhead", {FIRST: script})
        clients = self.held(rig, "/nightly/held", 10)
        more = [rig.client().ask("GET", "/nightly") for _ in range(12)]  # ten may wait
        clients += self.held(rig, "/interactive/held", 10)
        answers = [client.response() for client in more]
        self.assertEqual({answer.status for answer in answers}, {503})
        reasons = [answer.get("X-Outrigger-Reason") for answer in answers]
        self.assertEqual(reasons.count("bulkhead_queue_timeout"), 10, reasons)
        waited = answers[reasons.index("bulkhead_queue_timeout")]
        self.assertGreaterEqual(rig.timeline(waited)["queued_ms"], 499)
        self.assertEqual(rig.fetch("GET", "/list").status, 200)  # has the larger bulkhead alone
        release.set()
        self.assertEqual({client.response().status for client in clients}, {200})


class AdaptiveLimits(Example):
    def test_it_starts_as_a_bulkhead_of_twenty_and_waits_no_longer_than_it_says(self):
        release, script = self.holding()
        rig = self.example("adaptive_limit", {FIRST: script})
        clients = self.held(rig, "/held", 18)  # of standard priority, which has 90 %
        refused = rig.fetch()
        self.assertEqual(self.refusal(refused), (503, "concurrency_limit"))
        self.assertGreaterEqual(rig.timeline(refused)["queued_ms"], 99)
        self.assertEqual(rig.fetch(headers=CRITICAL).status, 200)
        self.assertEqual(rig.fetch("GET", "/balance").status, 200)
        shown = {each["name"]: each for each in rig.proxy.json("/adaptive_limits")["adaptive_limits"]}
        self.assertEqual(set(shown), {"ledger_reads", "ledger.Post"})
        self.assertEqual(rig.metric("adaptive_limit", adaptive_limit="ledger.Post"), 20)
        release.set()
        self.assertEqual({client.response().status for client in clients}, {200})


class AdaptiveThrottles(Example):
    def test_the_least_important_are_turned_away_first_and_some_are_always_tried(self):
        rig = self.example("adaptive_throttle", {FIRST: failing})
        client = rig.client()
        first = [client.fetch() for _ in range(50)]
        self.assertEqual({self.refusal(answer) for answer in first}, {(503, None)})
        paths = ["/", "/", "/", "/prefetch"] * 60
        refused = collections.Counter(path for path in paths
                                      if client.fetch("GET", path).get("X-Outrigger-Reason") == "throttled")
        self.assertGreater(refused["/prefetch"], 54)            # nearly all of 60
        self.assertTrue(90 < refused["/"] < 170, refused)       # more than half of 180, never all
        self.assertAlmostEqual(rig.metric("adaptive_throttle_rejection_ratio", adaptive_throttle="feed.Read"), 0.8)
        self.assertEqual(self.refusal(client.fetch("GET", "/live")), (503, None))  # another one


class Hedges(Example):
    def slow(self, attempts):
        """A script that holds so many attempts of /held."""
        hold = threading.Event()
        self.addCleanup(hold.set)
        return lambda request: Answer(body=b"ok", hold=hold if request.target.endswith("/held") and
                                      int(request.get("X-Outrigger-Attempt", "1")) <= attempts else None)

    def test_each_hedge_of_a_price_goes_to_another_endpoint_than_the_attempt_before_it(self):
        script = self.slow(2)
        rig = self.example("hedge", {FIRST: script, SECOND: script, THIRD: script})
        response = rig.fetch("GET", "/prices/held")
        timeline = self.check(rig, response, 200, "success",
                              ["primary hedge_lost", "hedge hedge_lost", "hedge success"], upstream=3)
        endpoints = [attempt["endpoint"] for attempt in timeline["attempts"]]
        self.assertTrue(endpoints[0] != endpoints[1] != endpoints[2], endpoints)
        starts = [attempt["start_ms"] for attempt in timeline["attempts"]]
        self.assertTrue(starts[1] >= 19 and starts[2] >= 39, starts)
        self.becomes(lambda: rig.metric("hedges_total", policy="catalog.Price", result="won"), 1)

    def test_a_read_is_hedged_once_enough_answers_are_known(self):
        script = self.slow(1)
        rig = self.example("hedge", {FIRST: script, SECOND: script, THIRD: script})
        client = rig.client()
        self.assertEqual({client.fetch().status for _ in range(100)}, {200})
        # What the samples say is worked out now and then, by an answer.
        self.becomes(lambda: (client.fetch().status, rig.metric("hedge_delay_seconds", policy="catalog.Read") > 0),
                     (200, True))
        response = client.fetch("GET", "/held")
        self.check(rig, response, 200, "success", ["primary hedge_lost", "hedge success"])


class Classifiers(Example):
    def test_the_rules_say_what_is_worth_another_try(self):
        busy = Answer(409, headers=[("X-Lock", "busy")])
        script = [busy, OK, Answer(409), unavailable(headers=[("X-Maintenance", "true")]), unavailable(), OK]
        answers = iter(script)
        rig = self.example("classifier", dict.fromkeys((FIRST, SECOND), lambda _: next(answers)))
        mended = rig.fetch()
        self.assertEqual((mended.status, story(rig.timeline(mended))), (200, ["primary locked", "retry success"]))
        self.assertEqual([rig.fetch().status for _ in range(3)], [409, 503, 200])
        self.assertEqual(len(rig.heads()), 6)


class Fallbacks(Example):
    def test_each_route_has_its_substitute(self):
        script = [unavailable()] * 4 + [Answer(body=b"old", headers=[("Cache-Control", "max-age=0")])]
        rig = self.example("fallback", {FIRST: script + [unavailable()] * 9, SECOND: lambda _: Answer(body=b"popular")})
        fixed = rig.fetch()
        self.assertEqual((fixed.status, fixed.body, fixed.get("X-Outrigger-Fallback"), fixed.get("Cache-Control")),
                         (200, b'{"items": []}', "http_503", "no-store"))
        elsewhere = rig.fetch("GET", "/for-you")
        self.assertEqual((elsewhere.body, elsewhere.get("X-Outrigger-Fallback")), (b"popular", "http_503"))
        self.assertEqual([rig.fetch("GET", "/related").get("X-Outrigger-Fallback") for _ in range(2)],
                         [None, "http_503"])
        self.becomes(lambda: rig.metric("requests_total", outcome="fallback"), 3)


class Caches(Example):
    def test_a_burst_of_the_same_question_costs_one_answer(self):
        release, script = self.holding()
        rig = self.example("cache", {FIRST: script})
        first, = self.held(rig, "/held", 1)
        others = [rig.client().ask("GET", "/held") for _ in range(5)]
        self.becomes(lambda: rig.proxy.json("/policies/catalog.Read")["state"]["cache"]["waiting"], 5)
        release.set()
        self.assertEqual([client.response().body for client in [first, *others]], [b"ok"] * 6)
        self.assertEqual(len(rig.up.heads), 1)

    def test_answers_are_kept_by_status_and_language_and_longer_for_a_failure(self):
        answers = {"/gone": Answer(404, body=b"none"), "/prices/gone": Answer(404, body=b"none")}
        old = [Answer(body=b"old", headers=[("Cache-Control", "max-age=0")]), unavailable()]
        rig = self.example("cache", {FIRST: lambda request: (
            old.pop(0) if request.target == "/old" else answers.get(request.target, OK))})
        for target, languages, asked in (("/", "de de fr", 2), ("/gone", "de de", 1), ("/prices", "de fr", 1),
                                         ("/prices/gone", "de de", 2)):
            with self.subTest(target):
                before = len(rig.heads())
                got = [rig.fetch("GET", target, [("Accept-Language", each)]) for each in languages.split()]
                self.assertEqual(len(rig.heads()) - before, asked)
                self.assertEqual(len([answer for answer in got if answer.get("Age")]), len(got) - asked)
        self.assertEqual([rig.fetch("GET", "/old").body for _ in range(2)], [b"old"] * 2)


class Mirrors(Example):
    def test_about_a_tenth_is_copied_and_marked(self):
        rig = self.example("mirror")
        client = rig.client()
        self.assertEqual({client.fetch("GET", f"/{i}").status for i in range(300)}, {200})
        copies = rig.ups[1].heads
        self.assertTrue(5 < len(copies) < 90, len(copies))
        self.assertEqual({copy.get("X-Outrigger-Mirror") for copy in copies}, {"1"})
        self.assertEqual(len(rig.up.heads), 300)


class Chaos(Example):
    def faults(self, headers=(("X-Chaos", "1"),), flags=("--allow-chaos",)):
        """What happens to forty requests, by kind."""
        rig = self.example("chaos", flags=flags)
        answers = self.all_at_once(rig, 40, headers=headers)
        self.assertEqual({answer.status for answer in answers}, {200})  # the retries make up for it
        return {kind: rig.metric("chaos_injected_total", policy="payments.Charge", kind=kind)
                for kind in ("delay", "status")}

    def test_the_same_faults_come_again(self):
        faults = self.faults()
        self.assertTrue(faults["delay"] > 0 and faults["status"] > 0, faults)
        self.assertEqual(self.faults(), faults)

    def test_without_the_field_or_the_second_switch_there_are_none(self):
        for more in ({"headers": ()}, {"flags": ()}):
            with self.subTest(more):
                self.assertEqual(self.faults(**more), {"delay": 0, "status": 0})


class Observing(Example):
    def test_what_would_be_done_is_told_and_not_done(self):
        release, script = self.holding()
        rig = self.example("observe", {FIRST: lambda request: (
            unavailable() if request.target == "/broken" else script(request))})
        failed = rig.fetch("GET", "/broken")
        self.assertEqual((failed.status, story(rig.timeline(failed))), (503, ["primary http_503"]))
        clients = self.held(rig, "/held", 20)
        self.assertEqual(rig.fetch().status, 200)
        release.set()
        self.assertEqual({client.response().status for client in clients}, {200})
        for reason in ("would_retry", "would_bulkhead_full"):
            self.becomes(lambda reason=reason: rig.metric("observed_total", policy="orders.Read", reason=reason), 1)
        self.assertEqual(rig.fetch("POST", body=b"order").status, 200)
        self.becomes(lambda: rig.metric("rate_limit_decisions_total", rate_limit="orders", policy="orders.Create",
                                        decision="allow"), 1)


class Deadlines(Example):
    def test_what_is_left_is_told_and_too_little_is_not_begun(self):
        rig = self.example("deadlines")
        for headers, status, reason in (([("Grpc-Timeout", "900m")], 200, None),
                                        ([("Grpc-Timeout", "15m")], 504, "deadline_too_short"),
                                        ([("X-Request-Timeout", "soon")], 400, "bad_request")):
            with self.subTest(headers):
                answer = rig.fetch("POST", "/grpc.Gateway/Call", headers, body=b"")
                self.assertEqual(self.refusal(answer), (status, reason))
        told = rig.up.heads[0].get("Grpc-Timeout")
        self.assertRegex(told, r"^\d+[mun]$")
        self.assertLessEqual(int(told[:-1]) * {"m": 1e-3, "u": 1e-6, "n": 1e-9}[told[-1]], 0.89)
        self.assertEqual(len(rig.up.heads), 1)

    def test_exports_have_none(self):
        rig = self.example("deadlines")
        self.assertEqual(rig.fetch("GET", "/export", [("X-Request-Timeout", "1")]).status, 200)
        self.assertEqual([name for name in rig.up.heads[0].names() if name.lower() == "grpc-timeout"], [])


class Timeouts(Example):
    def test_a_silent_attempt_is_given_up_in_time_for_another(self):
        hold = threading.Event()
        self.addCleanup(hold.set)
        rig = self.example("timeouts", {FIRST: [Answer(hold=hold)]})
        response = rig.fetch()
        timeline = self.check(rig, response, 200, "success", ["primary attempt_timeout", "retry success"], upstream=2)
        self.assertTrue(1499 <= timeline["duration_ms"] < 5000, timeline)
        self.assertEqual(timeline["deadline_ms"], 5000)


class Endpoints(Example):
    def test_requests_of_one_customer_stay_together(self):
        rig = self.example("endpoints")
        client = rig.client()

        def home(customer):
            response = client.fetch("GET", "/sessions/1", [("X-Customer", customer)])
            return rig.timeline(response)["attempts"][0]["endpoint"]
        homes = {str(i): home(str(i)) for i in range(20)}
        self.assertEqual(len(set(homes.values())), 2)
        self.assertEqual({customer: home(customer) for customer in homes}, homes)

    def test_a_small_service_has_two_requests_and_one_that_waits(self):
        release, script = self.holding()
        rig = self.example("endpoints", {THIRD: script})
        clients = self.held(rig, "/reports/held", 2)
        clients.append(rig.client().ask("GET", "/reports/waits"))
        self.becomes(lambda: rig.metric("upstream_pending", upstream="reports"), 1)
        self.assertEqual(self.refusal(rig.fetch("GET", "/reports/more")), (503, "pool_full"))
        release.set()
        self.assertEqual([client.response().status for client in clients], [200] * 3)

    def test_an_endpoint_that_fails_is_left_alone(self):
        rig = self.example("endpoints", {"9004": failing})
        bad, client = rig.ups[3], rig.client()
        while len(bad.heads) < 3:
            client.fetch("GET", "/fleet")
        self.assertEqual([client.fetch("GET", "/fleet").status for _ in range(20)], [200] * 20)
        self.assertEqual(len(bad.heads), 3)


if __name__ == "__main__":
    unittest.main()
