"""What a route changes on the way: the target, fields of heads, or the whole answer."""
import json
import unittest

from harness import INSTANCE, EndToEnd
from upstream import Answer, Upstream
from wire import Port


class Rewrites(EndToEnd):
    def test_a_prefix_gives_way_and_the_query_stays(self):
        rig = self.rig(route={"match": {"path_prefix": "/api"}, "rewrite": {"prefix": "/v2/"}})
        for asked, sent in [("/api", "/v2"), ("/api/", "/v2/"), ("/api/x?a=/api", "/v2/x?a=/api"),
                            ("/api/%2e%2e/api/x", "/v2/x"), ("/api//x", "/v2//x"), ("/api?q", "/v2?q")]:
            with self.subTest(asked):
                response = rig.fetch("GET", asked)
                self.assertEqual((response.status, rig.up.requests[-1].target), (200, sent))
                # A timeline tells what the client asked for.
                self.assertTrue(rig.timeline(response)["path"].startswith("/api"))

    def test_a_whole_path_gives_way(self):
        rig = self.rig(route={"match": {"path_template": "/u/{id}"}, "rewrite": {"path": "/users"}})
        self.assertEqual(rig.fetch("GET", "/u/7?x=1").status, 200)
        self.assertEqual(rig.up.requests[0].target, "/users?x=1")

    def test_the_routes_host_wins_over_the_upstreams(self):
        rig = self.rig(upstream={"host": "up.test"}, routes=[
            {"match": {"path": "/r"}, "policy": "t.Op", "upstream": "up", "rewrite": {"host": "route.test:81"}},
            {"match": {}, "policy": "t.Op", "upstream": "up"}])
        for path, host in [("/r", "route.test:81"), ("/x", "up.test")]:
            rig.fetch("GET", path, [("Host", "client.test")])
            self.assertEqual(rig.up.requests[-1].get("Host"), host)
            self.assertEqual(rig.up.requests[-1].get("X-Forwarded-Host"), "client.test")

    def test_every_attempt_is_sent_what_the_route_says(self):
        rig = self.rig([Answer(status=503, body=b"")], policy={"retry": {"max_attempts": 2, "initial_backoff": "1ms"}},
                       route={"match": {"path_prefix": "/a"}, "rewrite": {"prefix": "/b"},
                              "request_headers": {"set": {"X-Set": "1"}}})
        self.assertEqual(rig.fetch("GET", "/a/x").status, 200)
        self.assertEqual([(r.target, r.get("X-Set")) for r in rig.up.requests], [("/b/x", "1")] * 2)


class Fields(EndToEnd):
    EDITS = {"set": {"X-Set": "ours"}, "add": {"X-Add": "ours"}, "remove": ["X-Gone"]}
    THEIRS = (("X-Set", "a"), ("x-set", "b"), ("X-Add", "theirs"), ("x-gone", "1"), ("X-Kept", "1"))

    def assert_edited(self, message):
        self.assertEqual(message.all("X-Set"), ["ours"])
        self.assertEqual(message.all("X-Add"), ["theirs", "ours"])
        self.assertEqual(message.all("X-Gone"), [])
        self.assertEqual(message.all("X-Kept"), ["1"])

    def test_requests(self):
        rig = self.rig(route={"request_headers": self.EDITS})
        rig.fetch("GET", "/", list(self.THEIRS))
        self.assert_edited(rig.up.requests[0])

    def test_a_field_that_connection_names_goes_and_the_routes_own_comes(self):
        rig = self.rig(route={"request_headers": self.EDITS})
        rig.fetch("GET", "/", [("Connection", "X-Set, X-Add"), ("X-Set", "a"), ("X-Add", "theirs")])
        self.assertEqual((rig.up.requests[0].all("X-Set"), rig.up.requests[0].all("X-Add")), (["ours"], ["ours"]))

    def test_live_answers(self):
        rig = self.rig([Answer(headers=self.THEIRS, body=b"x")], route={"response_headers": self.EDITS})
        self.assert_edited(rig.fetch())

    def test_answers_that_were_held(self):
        bad = Answer(status=503, headers=self.THEIRS, body=b"x")
        rig = self.rig([bad, bad], route={"response_headers": self.EDITS},
                       policy={"retry": {"max_attempts": 2, "initial_backoff": "1ms"}})
        response = rig.fetch()
        self.assertEqual(response.status, 503)
        self.assert_edited(response)

    def test_stored_answers(self):
        rig = self.rig([Answer(headers=self.THEIRS, body=b"x")], route={"response_headers": self.EDITS},
                       policy={"cache": {"ttl": "1m"}})
        self.assert_edited(rig.fetch())
        again = rig.fetch()
        self.assertEqual(rig.timeline(again)["outcome"], "cached")
        self.assert_edited(again)

    def test_the_rate_limits_own_fields_replace_the_upstreams_beside_the_routes_edits(self):
        theirs = (("X-RateLimit-Limit", "9999"), ("X-RateLimit-Remaining", "9998"), ("X-Gone", "1"))
        rig = self.rig([Answer(headers=theirs, body=b"x")], route={"response_headers": {"remove": ["X-Gone"]}},
                       policy={"rate_limit": {"requests": 100, "headers": "legacy"}})
        response = rig.fetch()
        self.assertEqual((response.all("X-RateLimit-Limit"), response.all("X-Gone")), (["100"], []))

    def test_a_forerunner_does_not_bear_what_the_answer_must_not(self):
        early = Answer(interim=((103, [("Link", "</a>"), ("X-Kept", "1")]),), headers=(("Link", "</a>"),), body=b"x")
        rig = self.rig([early], route={"response_headers": {"remove": ["Link"], "set": {"X-Set": "1"}}})
        response = rig.fetch()
        self.assertEqual([(i.get("Link"), i.get("X-Kept"), i.get("X-Set")) for i in response.interim],
                         [(None, "1", None)])
        self.assertEqual((response.get("Link"), response.get("X-Set")), (None, "1"))

    def test_the_proxys_own_refusals_stay_as_they_are(self):
        port = Port()
        self.addCleanup(port.close)
        rig = self.rig(servers=[], endpoints=[port.name], route={
            "response_headers": {"set": {"Content-Type": "text/html", "X-Set": "1"}, "remove": ["Proxy-Status"]}})
        response = rig.fetch()
        self.assertEqual((response.status, response.get("X-Outrigger-Reason"), response.get("Content-Type"),
                          response.get("X-Set")), (502, "connect_refused", "application/problem+json", None))
        self.assertIsNotNone(response.get("Proxy-Status"))


class OfAFallback(EndToEnd):
    def test_answers_of_a_fallback_are_edited_like_those_they_stand_for(self):
        up, other = Upstream([Answer(status=500, body=b"")] * 2), Upstream([Answer(headers=Fields.THEIRS, body=b"x")])
        self.addCleanup(other.close)
        edits = {"response_headers": Fields.EDITS, "request_headers": Fields.EDITS, "rewrite": {"host": "r.test"}}
        answer = {"status": 200, "headers": {"X-Set": "a", "X-Gone": "1"}, "body": "b"}
        rig = self.rig(servers=[up], upstreams={"up": {"endpoints": [up.name]},
                                                "other": {"endpoints": [other.name], "host": "other.test"}},
                       policies={"t.Op": {"fallback": {"when": ["5xx"], "upstream": "other"}},
                                 "t.Own": {"fallback": {"when": ["5xx"], "respond": answer}}},
                       routes=[{"match": {"path": "/u"}, "policy": "t.Op", "upstream": "up", **edits},
                               {"match": {}, "policy": "t.Own", "upstream": "up", **edits}])
        Fields.assert_edited(self, rig.fetch("GET", "/u", list(Fields.THEIRS)))
        Fields.assert_edited(self, other.requests[0])
        self.assertEqual(other.requests[0].get("Host"), "r.test")
        own = rig.fetch("GET", "/x")
        self.assertEqual((own.status, own.all("X-Set"), own.all("X-Gone"), own.body), (200, ["ours"], [], b"b"))


class OwnAnswers(EndToEnd):
    def answering(self, status=200, policy=None, listener=None, **respond):
        """A rig whose route `/own` answers by itself; all else goes to the upstream."""
        up = Upstream()
        return self.rig(servers=[up], policies={"t.Op": {}, "t.Own": policy or {}}, listener=listener or {}, routes=[
            {"match": {"path_prefix": "/own"}, "policy": "t.Own", "respond": {"status": status, **respond},
             "response_headers": {"set": {"X-Route": "1"}}},
            {"match": {}, "policy": "t.Op", "upstream": "up"}])

    def test_it_is_sent_as_it_is_written(self):
        rig = self.answering(503, headers={"Retry-After": "60", "Content-Type": "text/plain"}, body="back soon\n")
        response = rig.fetch("GET", "/own/x")
        self.assertEqual((response.status, response.body, response.get("Retry-After"), response.get("Content-Type")),
                         (503, b"back soon\n", "60", "text/plain"))
        self.assertEqual((response.get("X-Route"), response.get("Via"), response.get("X-Outrigger-Reason")),
                         ("1", f"1.1 {INSTANCE}", None))
        timeline = rig.timeline(response)
        self.assertEqual((timeline["status"], timeline["reason"], timeline["attempts"], timeline["policy"],
                          timeline["termination"]), (503, "http_5xx", [], "t.Own", "-a"))
        self.becomes(lambda: rig.metric("requests_total", policy="t.Own", code="5xx", reason="http_5xx"), 1)
        self.assertEqual((rig.metric("attempts_total", policy="t.Own"), rig.up.heads), (0, []))

    def test_the_connection_goes_on_behind_it(self):
        rig = self.answering(204)
        client = rig.client()
        self.assertEqual([client.fetch("GET", path).status for path in ("/own", "/x", "/own")], [204, 200, 204])
        self.assertEqual([client.fetch("POST", path, body=b"hello").status for path in ("/own", "/x")], [204, 200])

    def test_head_has_its_length_and_no_body(self):
        rig = self.answering(200, body="12345")
        client = rig.client()
        response = client.fetch("HEAD", "/own")
        self.assertEqual((response.get("Content-Length"), response.body), ("5", b""))
        self.assertEqual(client.fetch("GET", "/own").body, b"12345")

    def test_a_body_that_is_still_to_come_is_not_asked_for(self):
        rig = self.answering(200, body="no need")
        client = rig.client()
        response = client.ask("POST", "/own", [("Expect", "100-continue"), ("Content-Length", "5")]).response()
        self.assertEqual((response.status, response.interim, response.get("Connection")), (200, [], "close"))

    def test_a_body_under_way_does_not_cost_the_answer(self):
        rig = self.answering(200, body="thanks")
        client = rig.client()
        client.ask("POST", "/own", [("Content-Length", "60000")])
        client.send(b"x" * 60000)
        self.assertEqual(client.response().body, b"thanks")

    def test_limits_of_requests_stand_before_it(self):
        rig = self.answering(200, policy={"rate_limit": {"requests": 1, "per": "1h", "headers": "ietf"}})
        first, second = rig.fetch("GET", "/own"), rig.fetch("GET", "/own")
        self.assertEqual((first.status, second.status, second.get("X-Outrigger-Reason")), (200, 429, "rate_limited"))
        self.assertIn("r=0", first.get("RateLimit"))

    def test_debug_fields_tell_that_nothing_was_attempted(self):
        rig = self.answering(200, listener={"debug_headers": True})
        response = rig.fetch("GET", "/own", [("X-Outrigger-Timeline", "1")])
        self.assertEqual((response.get("X-Outrigger-Policy"), response.get("X-Outrigger-Attempts")), ("t.Own", "0"))
        self.assertEqual(json.loads(response.get("X-Outrigger-Timeline"))["attempts"], [])

    def test_an_answer_may_change_by_reload(self):
        rig = self.answering(200, body="old")
        self.assertEqual(rig.fetch("GET", "/own").body, b"old")
        with open(rig.proxy.path, encoding="utf-8") as file:
            config = json.load(file)
        config["routes"][0]["respond"]["body"] = "new"
        rig.proxy.write(config)
        self.assertEqual(rig.proxy.call("/reload", "POST").status, 200)
        self.assertEqual(rig.fetch("GET", "/own").body, b"new")

    def test_a_configuration_without_any_attempt_serves(self):
        rig = self.rig(routes=[{"match": {}, "policy": "t.Op", "respond": {"status": 200, "body": "x"}}])
        self.assertEqual(rig.fetch().body, b"x")
        self.assertEqual(rig.up.heads, [])


if __name__ == "__main__":
    unittest.main()
