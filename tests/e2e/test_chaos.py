"""Faults on purpose, on the real binary: what they look like, and that nothing happens without both switches."""
import json
import threading
import unittest

from harness import EndToEnd, eventually, retry, settings
from upstream import OK, Answer
from wire import Truncated

ALLOWED = ("--allow-chaos",)
ALWAYS_503 = {"abort": {"probability": 1, "status": 503}}


class Chaos(EndToEnd):
    def chaotic(self, chaos, script=(), enabled=True, flags=ALLOWED, **policy):
        return self.rig(script, policy={"chaos": chaos, **policy} if chaos else policy, chaos_enabled=enabled,
                        flags=flags)

    def injected(self, rig, kind, count):
        self.becomes(lambda: rig.metric("chaos_injected_total", policy="t.Op", kind=kind), count)


class Faults(Chaos):
    def test_a_status_without_an_upstream(self):
        rig = self.chaotic({"abort": {"probability": "100%", "status": 429}})
        response = rig.fetch()
        self.assertEqual((response.status, response.body, response.get("Content-Length")), (429, b"", "0"))
        self.assertEqual(rig.up.heads, [])
        attempt, = rig.timeline(response)["attempts"]
        self.assertEqual((attempt["chaos"], attempt["reason"], attempt["status"]), ("status", "http_429", 429))
        self.injected(rig, "status", 1)

    def test_a_delay_in_front_of_the_upstream(self):
        rig = self.chaotic({"delay": {"probability": 1, "fixed": "100ms"}})
        response = rig.fetch()
        self.assertEqual(response.body, b"ok")
        timeline = rig.timeline(response)
        self.assertGreaterEqual(timeline["duration_ms"], 100)
        self.assertEqual(timeline["attempts"][0]["chaos"], "delay")
        self.assertEqual(len(rig.up.requests), 1)
        self.injected(rig, "delay", 1)

    def test_a_delay_ends_with_the_deadline_and_with_the_client(self):
        rig = self.chaotic({"delay": {"probability": 1, "fixed": "1h"}}, overall_timeout="100ms")
        self.check(rig, rig.fetch(), 504, "overall_timeout", ["primary overall_timeout"], stop="non_retryable",
                   upstream=0)
        client = rig.client().ask()
        self.becomes(lambda: rig.metric("requests_in_flight", policy="t.Op"), 1)
        client.close()
        self.becomes(lambda: rig.metric("requests_in_flight", policy="t.Op"), 0)

    def test_a_reset(self):
        rig = self.chaotic({"abort": {"probability": 1, "kind": "reset"}})
        response = rig.fetch()
        self.check(rig, response, 502, "reset", ["primary reset"], stop="attempts_exhausted", upstream=0)
        self.assertEqual(rig.timeline(response)["attempts"][0]["chaos"], "reset")
        self.injected(rig, "reset", 1)

    def test_an_answer_that_breaks_off(self):
        rig = self.chaotic({"abort": {"probability": 1, "kind": "truncate"}}, [Answer(body=b"x" * 1000)])
        client = rig.client().ask(headers=[("X-Request-Id", "broken")])
        with self.assertRaises(Truncated):
            client.response()
        self.assertEqual(rig.timeline("broken")["attempts"][0]["chaos"], "truncate")
        self.assertEqual(len(rig.up.requests), 1)
        self.injected(rig, "truncate", 1)

    def test_they_are_the_upstreams_doing_to_all_other_policies(self):
        rig = self.chaotic(ALWAYS_503, **retry(2), circuit={"consecutive_failures": 2, "cooldown": "1m"})
        self.check(rig, rig.fetch(), 503, "http_5xx", ["primary http_503", "retry http_503"],
                   stop="attempts_exhausted", upstream=0)
        self.assertEqual(rig.fetch().get("X-Outrigger-Reason"), "circuit_open")
        self.injected(rig, "status", 2)

    def test_the_same_seed_makes_the_same_sequence(self):
        def statuses(seed):
            rig = self.chaotic({"seed": seed, "abort": {"probability": "50%", "status": 503}})
            return [rig.fetch().status for _ in range(40)]

        first = statuses(7)
        self.assertEqual(set(first), {200, 503})
        self.assertEqual(statuses(7), first)
        self.assertNotEqual(statuses(8), first)


class Switches(Chaos):
    def test_both_must_be_on(self):
        for enabled, flags in ((False, ()), (True, ()), (False, ALLOWED)):
            with self.subTest((enabled, flags)):
                rig = self.chaotic(ALWAYS_503, enabled=enabled, flags=flags)
                self.assertEqual(rig.fetch().status, 200)
                self.assertEqual(rig.proxy.metrics().series("chaos_injected_total"), [])
        self.assertEqual(self.chaotic(ALWAYS_503).fetch().status, 503)

    def test_only_what_matches_meets_them(self):
        rig = self.chaotic({**ALWAYS_503, "match": {"path_prefix": "/c", "methods": ["GET"],
                                                    "headers": [{"name": "X-Chaos", "present": True}]}})
        meant = [("X-Chaos", "1")]
        self.assertEqual(rig.fetch("GET", "/c/d", meant).status, 503)
        for method, target, headers in (("GET", "/c", []), ("GET", "/cc", meant), ("PUT", "/c", meant)):
            with self.subTest((method, target)):
                self.assertEqual(rig.fetch(method, target, headers).status, 200)

    def test_they_end_with_their_time(self):
        rig = self.chaotic({**ALWAYS_503, "until": "2020-01-01T00:00:00Z"})
        self.assertEqual(rig.fetch().status, 200)


class Ordered(Chaos):
    def order(self, rig, block=None, query="", policy="t.Op"):
        body = block if isinstance(block, bytes) else json.dumps(block or ALWAYS_503).encode()
        response = rig.proxy.call(f"/chaos/{policy}{query}", "POST", body=body)
        return response.status, json.loads(response.body)

    def logged(self, rig, text):
        eventually(lambda: text in rig.proxy.stderr(), f"the log says: {text}")

    def end(self, rig, policy="t.Op"):
        response = rig.proxy.call(f"/chaos/{policy}", "DELETE")
        return response.status, json.loads(response.body)

    def test_an_operator_may_order_and_end_them(self):
        rig = self.chaotic(None)
        status, said = self.order(rig, b"seed: 3\nabort: { probability: 100%, status: 503 }\n")
        self.assertEqual((status, said["policy"], said["generation"]), (200, "t.Op", 2))
        refused = rig.fetch()
        self.assertEqual(refused.status, 503)
        timeline = rig.timeline(refused)
        self.assertEqual((timeline["attempts"][0]["chaos"], timeline["config_generation"]), ("status", 2))
        shown = rig.proxy.json("/config")["config"]["policies"]["t.Op"]["chaos"]
        self.assertEqual((shown["seed"], shown["until"]), (3, said["until"]))
        self.assertEqual(rig.proxy.json("/policies/t.Op")["chaos"], shown)
        self.assertEqual(rig.proxy.json("/policies/t.Op")["state"]["chaos"], {"rolls": 1, "ordered": True})
        self.assertEqual(self.end(rig), (200, {"policy": "t.Op", "generation": 3}))
        self.assertEqual(rig.fetch().status, 200)
        self.assertNotIn("chaos", rig.proxy.json("/config")["config"]["policies"]["t.Op"])
        self.assertEqual(self.end(rig)[0], 404)

    def test_they_come_in_the_place_of_the_policys_own(self):
        rig = self.chaotic(ALWAYS_503)
        self.order(rig, {"abort": {"probability": 1, "status": 500}})
        self.assertEqual(rig.fetch().status, 500)
        self.end(rig)
        self.assertEqual(rig.fetch().status, 503)

    def test_they_end_by_themselves(self):
        rig = self.chaotic(None)
        self.order(rig, query="?ttl=1s")
        self.assertEqual(rig.fetch().status, 503)
        self.becomes(lambda: rig.proxy.json("/config")["generation"], 3)
        self.assertEqual(rig.fetch().status, 200)
        self.logged(rig, "ordered faults are over")

    def test_each_order_begins_its_sequence_anew_and_a_reload_does_not(self):
        rig = self.chaotic(None)
        half = {"seed": 7, "abort": {"probability": "50%", "status": 503}}
        runs = []
        for _ in range(2):
            self.order(rig, half)
            runs.append([rig.fetch().status for _ in range(12)])
        self.assertEqual(runs[0], runs[1])
        self.order(rig, half)
        again = [rig.fetch().status for _ in range(6)]
        rig.proxy.write(settings([rig.up.name], policy={"id": "changed"}, chaos_enabled=True))
        self.assertEqual(rig.proxy.call("/reload", "POST", body=b"").status, 200)
        self.assertEqual(again + [rig.fetch().status for _ in range(6)], runs[0])

    def test_a_reload_keeps_them_unless_it_takes_away_what_they_need(self):
        rig = self.chaotic(None)
        until = self.order(rig)[1]["until"]

        def reload(**changes):
            rig.proxy.write(settings([rig.up.name], **{"chaos_enabled": True, **changes}))
            response = rig.proxy.call("/reload", "POST", body=b"")
            self.assertEqual(response.status, 200, response.body)
            return json.loads(response.body)["generation"]

        self.assertEqual(reload(), 2)  # nothing has changed
        self.assertEqual(reload(policy={"id": "changed"}), 3)
        self.assertEqual(rig.proxy.json("/config")["config"]["policies"]["t.Op"]["chaos"]["until"], until)
        self.assertEqual(rig.fetch().status, 503)
        self.assertEqual(reload(chaos_enabled=False), 4)
        self.assertEqual(rig.fetch().status, 200)
        self.assertEqual(reload(), 5)
        self.assertEqual(rig.fetch().status, 200)
        self.logged(rig, "ordered faults ended with the reload")

    def test_once_drained_there_is_nothing_to_end_and_that_is_said(self):
        rig = self.rig(chaos_enabled=True, flags=ALLOWED, drain={"delay": "0s", "grace": "0s"})
        self.assertEqual(self.order(rig)[0], 200)
        self.assertEqual(rig.proxy.call("/drain", "POST", body=b"").status, 200)
        self.becomes(lambda: rig.proxy.call("/reload", "POST", body=b"").status, 422)
        for status, said in (self.order(rig), self.end(rig)):
            self.assertEqual((status, said["error"]), (409, "draining is over: there are no requests left"))

    def test_without_a_switch_the_order_is_refused_and_says_which(self):
        for enabled, flags, named in ((False, (), "chaos_enabled is not true, and --allow-chaos"),
                                      (True, (), "--allow-chaos was not given"),
                                      (False, ALLOWED, "chaos_enabled is not true")):
            with self.subTest((enabled, flags)):
                rig = self.chaotic(None, enabled=enabled, flags=flags)
                status, said = self.order(rig)
                self.assertEqual(status, 409)
                self.assertIn(named, said["error"])
                self.assertEqual(rig.fetch().status, 200)

    def test_a_wrong_order_changes_nothing_and_says_what_is_wrong(self):
        rig = self.chaotic(None)
        status, said = self.order(rig, {"abort": {"probability": 2}, "sed": 1})
        self.assertEqual(status, 422)
        self.assertRegex(said["errors"][0], r"^body:1:\d+: error: policies\.t\.Op\.chaos\.abort\.probability: ")
        self.assertIn('did you mean "seed"?', said["errors"][1])
        self.assertEqual(self.order(rig, query="?ttl=25h")[0], 400)
        self.assertEqual(self.order(rig, policy="no.Such")[0], 404)
        self.assertEqual(self.end(rig, "no.Such")[0], 404)
        self.assertEqual(rig.proxy.json("/config")["generation"], 1)

    def test_requests_under_way_are_left_alone(self):
        hold = threading.Event()
        self.addCleanup(hold.set)
        rig = self.chaotic(None, lambda _request: Answer(body=b"ok", hold=hold))
        first = rig.client().ask()
        self.becomes(lambda: len(rig.up.heads), 1)
        self.order(rig)
        self.assertEqual(rig.fetch().status, 503)
        hold.set()
        self.assertEqual(first.response().body, OK.body)

    def test_other_methods_are_told_which_there_are(self):
        rig = self.chaotic(None)
        response = rig.proxy.call("/chaos/t.Op")
        self.assertEqual((response.status, response.get("Allow")), (405, "POST, DELETE"))
        foreign = rig.proxy.call("/chaos/t.Op", "DELETE", headers=[("Origin", "https://evil.example")])
        self.assertEqual(foreign.status, 403)


if __name__ == "__main__":
    unittest.main()
