"""A pooled connection that died in the meantime costs nothing but a new one, where that is safe."""
import unittest

from harness import EndToEnd, retry, story
from upstream import HANG_UP, OK, RESET, Answer


class Reconnect(EndToEnd):
    def after_one(self, second, method="GET", policy=None, **asked):
        """A client's second request, which finds its pooled connection ended by the upstream in answer to it."""
        rig = self.rig([OK, second], policy=policy)
        client = rig.client()
        self.assertEqual(client.fetch().status, 200)
        return rig, client.fetch(method, "/again", **asked)

    def test_a_dead_connection_is_replaced_at_once_even_without_a_retry_block(self):
        for answer in (HANG_UP, RESET):
            with self.subTest(answer.end):
                rig, response = self.after_one(answer)
                self.assertEqual((response.status, response.body), (200, b"ok"))
                timeline = rig.timeline(response)
                self.assertEqual([attempt["kind"] for attempt in timeline["attempts"]], ["primary", "reconnect"])
                self.assertEqual((timeline["reason"], timeline["attempts"][1]["reason"]), ("success", "success"))
                self.assertIn("connect_ms", timeline["attempts"][1])
                self.assertNotIn("connect_ms", timeline["attempts"][0])
                self.assertEqual([request.connection for request in rig.up.requests], [0, 0, 1])
                self.becomes(lambda: rig.metric("attempts_total", kind="reconnect", reason="success"), 1)

    def test_it_takes_neither_attempt_nor_budget(self):
        policy = retry(1, budget={"type": "token_bucket", "capacity": 1, "refill_per_second": 0})
        rig, response = self.after_one(RESET, policy=policy)
        self.assertEqual(response.status, 200)
        self.assertEqual(rig.metric("budget_decisions_total", budget="t.Op"), 0)

    def test_a_body_is_replayed(self):
        rig, response = self.after_one(RESET, "PUT", body=b"whole")
        self.assertEqual((response.status, [request.body for request in rig.up.requests[1:]]), (200, [b"whole"] * 2))

    def test_a_post_is_not_repeated(self):
        for answer, reason in ((HANG_UP, "closed_early"), (RESET, "reset")):
            with self.subTest(reason):
                rig, response = self.after_one(answer, "POST", retry(), body=b"x")
                self.check(rig, response, 502, reason, [f"primary {reason}"], "http_non_idempotent", upstream=2)

    def test_a_post_with_an_idempotency_key_is(self):
        rig, response = self.after_one(RESET, "POST", headers=[("Idempotency-Key", "k")], body=b"x")
        self.assertEqual((response.status, len(rig.up.requests)), (200, 3))

    def test_it_happens_once_per_request(self):
        rig = self.rig([OK, RESET, RESET])
        client = rig.client()
        client.fetch()
        response = client.fetch()
        self.assertEqual((response.status, response.get("X-Outrigger-Reason")), (502, "reset"))
        self.assertEqual([attempt["kind"] for attempt in rig.timeline(response)["attempts"]], ["primary", "reconnect"])

    def test_a_fresh_connection_is_not_replaced(self):
        rig = self.rig([RESET])
        response = rig.fetch()
        self.assertEqual((response.status, story(rig.timeline(response))), (502, ["primary reset"]))

    def test_not_once_the_answer_has_begun(self):
        rig, response = self.after_one(Answer(raw=b"HTTP/1.1 2", end="fin"))
        self.assertEqual((response.status, story(rig.timeline(response))), (502, ["primary closed_early"]))

    def test_an_idle_connection_that_ended_is_not_even_tried(self):
        rig = self.rig()
        client = rig.client()
        client.fetch()
        self.becomes(lambda: rig.metric("upstream_connections", state="idle"), 1)
        rig.up.connections[0].sock.shutdown(1)
        self.becomes(lambda: rig.metric("upstream_connections", state="idle"), 0)
        response = client.fetch("POST", body=b"x")
        self.check(rig, response, 200, "success", ["primary success"], upstream=2)

    def test_idle_connections_are_closed_after_their_time(self):
        rig = self.rig(upstream={"idle_timeout": "100ms"})
        self.assertEqual(rig.fetch().status, 200)
        self.given_up(rig.up.connections[0])
        self.becomes(lambda: rig.metric("upstream_connections", state="idle"), 0)


if __name__ == "__main__":
    unittest.main()
