"""Fallbacks on the real binary: what is sent instead, when, and that it hides nothing."""
import unittest

from harness import EndToEnd, retry
from upstream import OK, RESET, Answer, Upstream, unavailable

PREPARED = {"status": 203, "headers": {"Content-Type": "application/json"}, "body": '{"items": []}'}


class FixedAnswer(EndToEnd):
    def falls_back(self, script, when, **policy):
        return self.rig(script, policy={"fallback": {"when": when, "respond": PREPARED}, **policy})

    def prepared(self, rig, response, mark, reason):
        self.assertEqual((response.status, response.body, response.get("Content-Type")),
                         (203, b'{"items": []}', "application/json"))
        self.assertEqual(response.get("X-Outrigger-Fallback"), mark)
        timeline = rig.timeline(response)
        self.assertEqual((timeline["outcome"], timeline["reason"], timeline["fallback"], timeline["status"]),
                         ("fallback", reason, mark, 203))
        self.becomes(lambda: rig.metric("requests_total", outcome="fallback", code="2xx", reason=reason), 1)
        self.becomes(lambda: rig.metric("fallbacks_total", policy="t.Op"), 1)
        return timeline

    def test_instead_of_a_status(self):
        rig = self.falls_back([unavailable(), OK], ["5xx"])
        timeline = self.prepared(rig, rig.fetch(), "http_503", "http_5xx")
        self.assertEqual([attempt["reason"] for attempt in timeline["attempts"]], ["http_503"])
        good = rig.fetch()
        self.assertEqual((good.body, good.get("X-Outrigger-Fallback")), (b"ok", None))
        self.assertNotIn("fallback", rig.timeline(good))

    def test_the_answer_to_head_has_no_body(self):
        rig = self.falls_back([unavailable()], ["5xx"])
        response = rig.fetch("HEAD")
        self.assertEqual((response.status, response.get("Content-Length"), response.body), (203, "13", b""))

    def test_only_when_all_attempts_were_in_vain(self):
        rig = self.falls_back([unavailable(), OK, unavailable(), unavailable()], ["exhausted"], **retry(2))
        self.assertEqual(rig.fetch().body, b"ok")
        timeline = self.prepared(rig, rig.fetch(), "http_503", "http_5xx")
        self.assertEqual([attempt["kind"] for attempt in timeline["attempts"]], ["primary", "retry"])

    def test_instead_of_a_refusal_of_our_own(self):
        rig = self.falls_back([unavailable()], ["circuit_open"],
                              circuit={"consecutive_failures": 1, "cooldown": "1m"})
        self.assertEqual(rig.fetch().status, 503)
        self.prepared(rig, rig.fetch(), "circuit_open", "circuit_open")
        self.assertEqual(len(rig.up.heads), 1)

    def test_instead_of_a_failure_without_an_answer(self):
        rig = self.falls_back([RESET], ["exhausted"])
        self.prepared(rig, rig.fetch(), "reset", "reset")

    def test_instead_of_a_limits_word(self):
        rig = self.falls_back([], ["rate_limited"], rate_limit={"requests": 1, "per": "1h", "burst": 1})
        self.assertEqual(rig.fetch().body, b"ok")
        self.prepared(rig, rig.fetch(), "rate_limited", "rate_limited")

    def test_a_deadline_that_passed_is_answered_in_time(self):
        rig = self.falls_back(lambda _request: Answer(raw=b""), ["timeout"], overall_timeout="100ms")
        self.prepared(rig, rig.fetch(), "overall_timeout", "overall_timeout")

    def test_what_does_not_match_stays_what_it_is(self):
        rig = self.falls_back([unavailable(b"mine"), Answer(status=404)], ["500", "shed"])
        response = rig.fetch()
        self.assertEqual((response.status, response.body, response.get("X-Outrigger-Fallback")), (503, b"mine", None))
        self.assertEqual(rig.fetch().status, 404)


class AnotherUpstream(EndToEnd):
    def falls_over(self, script, other_script=(), when=("exhausted",), other_upstream=None, **policy):
        up, other = Upstream(script), Upstream(other_script)
        rig = self.rig(servers=[up, other], policy={"fallback": {"when": list(when), "upstream": "other"}, **policy},
                       upstreams={"up": {"endpoints": [up.name]},
                                  "other": {"endpoints": [other.name], **(other_upstream or {})}})
        return rig, up, other

    def test_one_last_attempt_elsewhere(self):
        rig, up, other = self.falls_over([unavailable()] * 2, [Answer(body=b"elsewhere")], **retry(2))
        response = rig.fetch("GET", "/a?b")
        self.assertEqual((response.status, response.body, response.get("X-Outrigger-Fallback")),
                         (200, b"elsewhere", "http_503"))
        timeline = self.check(rig, response, 200, "http_5xx",
                              ["primary http_503", "retry http_503", "fallback success"],
                              stop="attempts_exhausted", outcome="fallback")
        self.assertEqual([attempt["upstream"] for attempt in timeline["attempts"]], ["up", "up", "other"])
        self.assertEqual((len(up.requests), other.requests[0].target), (2, "/a?b"))
        self.becomes(lambda: rig.metric("attempts_total", policy="t.Op", upstream="other", kind="fallback"), 1)
        self.assertEqual(rig.metric("attempts_total", policy="t.Op", upstream="up", kind="fallback"), 0)

    def test_its_upstream_has_its_own_host(self):
        rig, _up, other = self.falls_over([unavailable()], [OK], other_upstream={"host": "other.test"})
        self.assertEqual(rig.fetch(host="client.test").status, 200)
        self.assertEqual(other.requests[0].get("Host"), "other.test")

    def test_if_that_is_no_better_the_first_answer_stands(self):
        for script in ([unavailable(b"worse")], [RESET]):
            with self.subTest(script):
                rig, _up, other = self.falls_over([unavailable(b"mine")], script)
                response = rig.fetch()
                self.assertEqual((response.status, response.body, response.get("X-Outrigger-Fallback")),
                                 (503, b"mine", None))
                self.assertEqual(len(other.heads), 1)
                timeline = rig.timeline(response)
                self.assertEqual(timeline["outcome"], "upstream_error")
                self.assertNotIn("fallback", timeline)
                self.becomes(lambda: rig.metric("fallbacks_total"), 0)

    def test_it_is_never_retried(self):
        rig, up, other = self.falls_over(lambda _request: unavailable(), [unavailable()] * 9, **retry(3))
        self.assertEqual(rig.fetch().status, 503)
        self.assertEqual((len(up.requests), len(other.requests)), (3, 1))

    def test_a_post_that_may_have_arrived_goes_nowhere_else(self):
        rig, up, other = self.falls_over([RESET])
        response = rig.fetch("POST", body=b"pay")
        self.assertEqual((response.status, response.get("X-Outrigger-Reason")), (502, "reset"))
        self.assertEqual((len(up.heads), other.heads), (1, []))
        self.assertIn(("fallback", "http_non_idempotent"),
                      [(decision["part"], decision["reason"]) for decision in rig.timeline(response)["decisions"]])

    def test_a_post_that_cannot_have_arrived_does(self):
        rig, up, other = self.falls_over([], [OK])
        up.refuse()
        response = rig.fetch("POST", body=b"pay")
        self.assertEqual((response.status, response.get("X-Outrigger-Fallback")), (200, "connect_refused"))
        self.assertEqual(other.requests[0].body, b"pay")

    def test_a_body_that_may_be_sent_again_arrives_whole(self):
        rig, _up, other = self.falls_over([unavailable()], [OK])
        self.assertEqual(rig.fetch("PUT", body=b"x" * 5000).status, 200)
        self.assertEqual(other.requests[0].body, b"x" * 5000)

    def test_a_refusal_of_our_own_leads_there_too(self):
        rig, up, other = self.falls_over([], [OK] * 2, when=["rate_limited"],
                                         rate_limit={"requests": 1, "per": "1h", "burst": 1})
        self.assertEqual([rig.fetch("POST", body=b"x").get("X-Outrigger-Fallback") for _ in range(2)],
                         [None, "rate_limited"])
        self.assertEqual((len(up.requests), other.requests[0].body), (1, b"x"))


class Stale(EndToEnd):
    def test_what_the_cache_last_had(self):
        old = Answer(body=b"old", headers=[("Cache-Control", "max-age=0")])
        rig = self.rig([old, RESET, RESET], policy={"cache": {"stale_if_error": "10m"},
                                                    "fallback": {"when": ["exhausted"], "stale": True}})
        client = rig.client()
        client.fetch()
        response = client.fetch()
        self.assertEqual((response.status, response.body, response.get("X-Outrigger-Fallback")),
                         (200, b"old", "reset"))
        self.assertRegex(response.get("Age"), r"^\d+$")
        timeline = self.check(rig, response, 200, "reset", ["primary reconnect", "reconnect reset"],
                              stop="attempts_exhausted", outcome="fallback", upstream=3)
        self.assertEqual(timeline["cache"], "stale")

    def test_without_one_the_failure_stands(self):
        rig = self.rig([unavailable(b"mine")], policy={"cache": {"stale_if_error": "10m"},
                                                       "fallback": {"when": ["exhausted"], "stale": True}})
        response = rig.fetch()
        self.assertEqual((response.status, response.body, response.get("X-Outrigger-Fallback")), (503, b"mine", None))


if __name__ == "__main__":
    unittest.main()
