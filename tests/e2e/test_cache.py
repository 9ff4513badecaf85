"""Caches on the real binary: what is answered from memory, what must not be, and who waits for whom."""
import threading
import unittest

from harness import EndToEnd
from upstream import Answer, unavailable
from wire import SANITIZED


def answer(control="", body=b"fresh", **fields):
    headers = [("Cache-Control", control)] if control else []
    return Answer(body=body, headers=[*headers, *((name.replace("_", "-"), value) for name, value in fields.items())])


class Caching(EndToEnd):
    def cached(self, script, cache=None, **more):
        return self.rig(script, policy={"cache": cache or {}, **more})

    def looked_up(self, rig, result, count):
        self.becomes(lambda: rig.metric("cache_lookups_total", policy="t.Op", result=result), count)


def named_back(*names):
    """Says which of those fields it was asked with, and that its answer depends on them."""
    return lambda request: answer(Vary=", ".join(names), body=repr([request.get(name) for name in names]).encode())


class Told(Caching):
    """Answers are told apart by what the upstream was asked with, not by what the client sent."""

    def test_a_client_cannot_have_a_variant_stored_for_a_value_that_the_upstream_never_saw(self):
        for cache in ({}, {"vary": ["X-Tenant"]}):
            with self.subTest(cache):
                rig = self.cached(named_back("X-Tenant"), cache)
                hidden = rig.fetch("GET", "/", [("Connection", "X-Tenant"), ("X-Tenant", "victim")])
                self.assertEqual(hidden.body, b"[None]")
                self.assertEqual(rig.fetch("GET", "/", [("X-Tenant", "victim")]).body, b"['victim']")
                self.assertEqual(rig.fetch("GET", "/", [("X-Tenant", "victim")]).body, b"['victim']")
                self.assertEqual(rig.fetch().body, b"[None]")
                self.assertEqual(len(rig.up.heads), 2)

    def test_fields_that_the_proxy_writes_tell_answers_apart(self):
        rig = self.rig(named_back("X-Forwarded-Proto", "X-Forwarded-For"), policy={"cache": {}},
                       listener={"trusted_hops": 1})
        asked = [("https", "10.0.0.1"), ("http", "10.0.0.1"), ("https", "10.0.0.2")]
        for _ in range(2):
            for proto, address in asked:
                fields = [("X-Forwarded-Proto", proto), ("X-Forwarded-For", address)]
                self.assertIn(proto, rig.fetch("GET", "/", fields).body.decode())
                self.assertIn(address, rig.fetch("GET", "/", fields).body.decode())
        self.assertEqual(len(rig.up.heads), 3)

    def test_the_way_to_https_is_not_shown_to_those_who_came_by_it(self):
        def script(request):
            secure = request.get("X-Forwarded-Proto") == "https"
            return answer(body=b"secure") if secure else Answer(status=301, headers=[("Location", "https://rig.test/")])
        rig = self.rig(script, policy={"cache": {"statuses": [200, 301]}}, listener={"trusted_hops": 1})
        self.assertEqual(rig.fetch("GET", "/", [("X-Forwarded-Proto", "http")]).status, 301)
        self.assertEqual(rig.fetch("GET", "/", [("X-Forwarded-Proto", "https")]).body, b"secure")
        both = [("X-Forwarded-Proto", "https"), ("X-Forwarded-Proto", "http")]
        for _ in range(2):
            asked = len(rig.up.heads)
            rig.fetch("GET", "/", both)
            self.assertEqual(len(rig.up.heads), asked + 1)

    def test_what_differs_from_attempt_to_attempt_is_not_stored(self):
        rig = self.cached(named_back("X-Outrigger-Attempt"))
        rig.fetch()
        rig.fetch()
        self.assertEqual(len(rig.up.heads), 2)


class Stored(Caching):
    def test_the_second_request_is_answered_from_memory(self):
        rig = self.cached(lambda _request: answer(X_Made="once"))
        first, second = rig.fetch("GET", "/a?b=1"), rig.fetch("GET", "/a?b=1")
        self.assertEqual((second.status, second.body, second.get("X-Made")), (200, b"fresh", "once"))
        self.assertIsNone(first.get("Age"))
        self.assertRegex(second.get("Age"), r"^\d+$")
        self.assertEqual(len(rig.up.heads), 1)
        timeline = rig.timeline(second)
        self.assertEqual((timeline["outcome"], timeline["reason"], timeline["cache"], timeline["attempts"]),
                         ("cached", "success", "hit", []))
        self.assertEqual((rig.timeline(first)["outcome"], rig.timeline(first)["cache"]), ("ok", "miss"))
        self.looked_up(rig, "miss", 1)
        self.looked_up(rig, "hit", 1)
        self.becomes(lambda: rig.metric("requests_total", outcome="cached", code="2xx", reason="success"), 1)
        self.assertGreater(rig.metric("buffer_bytes", kind="cache"), 5)
        state = rig.proxy.json("/policies/t.Op")["state"]["cache"]
        self.assertEqual((state["entries"], state["waiting"]), (1, 0))

    def test_what_is_stored_gives_way_to_the_bodies_of_requests_under_way(self):
        hold = threading.Event()
        self.addCleanup(hold.set)
        rig = self.rig(lambda request: Answer(hold=hold) if request.target == "/hold" else answer(body=bytes(60_000)),
                       limits={"buffer_memory": "1MiB"},
                       policy={"cache": {}, "retry": {"replay_buffer": "1MiB"}})
        for i in range(14):
            rig.fetch("GET", f"/{i}")
        self.assertGreater(rig.metric("buffer_bytes", kind="cache"), 14 * 60_000)
        uploading = rig.client().ask("PUT", "/hold", body=bytes(120_000))
        self.becomes(lambda: rig.metric("buffer_bytes", kind="replay"), 120_000)
        most = 1024 * 1024 * 7 // 8 - 120_000
        self.becomes(lambda: 0 < rig.metric("buffer_bytes", kind="cache") <= most, True)
        hold.set()
        self.assertEqual(uploading.response().status, 200)

    def test_head_is_answered_from_what_a_get_stored(self):
        rig = self.cached(lambda _request: answer())
        rig.fetch()
        head = rig.fetch("HEAD")
        self.assertEqual((head.status, head.get("Content-Length"), head.body), (200, "5", b""))
        self.assertEqual(len(rig.up.heads), 1)

    def test_a_large_answer_is_kept_once_however_many_read_it_slowly(self):
        body = bytes(range(251)) * 8_000
        rig = self.rig([Answer(body=body)], policy={"cache": {"max_object": "8MiB"}},
                       listener={"listen": f"unix:{self.folder()}/in"})  # whose kernel keeps little for who does not read
        self.assertEqual(rig.fetch().body, body)
        before = rig.proxy.resident()
        clients = [rig.client(receive_buffer=4096).ask() for _ in range(30)]
        self.becomes(lambda: rig.metric("requests_in_flight"), 30)
        if not SANITIZED:
            self.assertLess(rig.proxy.resident() - before, 8 * 1024 * 1024)
        for client in clients:
            self.assertEqual(client.response().body, body)
            self.assertEqual(client.fetch("HEAD").status, 200)

    def test_another_target_host_or_body_is_another_resource(self):
        rig = self.cached(lambda request: answer(body=request.target.encode() + request.get("Host").encode()))
        for target, host in (("/a", "one.test"), ("/a?", "one.test"), ("/b", "one.test"), ("/a", "two.test")):
            self.assertEqual(rig.fetch("GET", target, host=host).body, (target + host).encode())
        self.assertEqual(len(rig.up.heads), 4)
        self.assertEqual(rig.fetch("GET", "/a", host="ONE.test:80").body, b"/aone.test")
        self.assertEqual(rig.fetch("GET", "/a", host="one.test", body=b"asks").body, b"/aone.test")
        self.assertEqual(len(rig.up.heads), 5)

    def test_what_varies_is_stored_for_each(self):
        rig = self.cached(lambda request: answer(Vary="Accept-Language", body=request.get("Accept-Language").encode()))
        for _ in range(2):
            for language in ("de", "fr", "it"):
                self.assertEqual(rig.fetch(headers=[("Accept-Language", language)]).body, language.encode())
        self.assertEqual(len(rig.up.heads), 3)

    def test_a_changed_resource_is_asked_for_anew(self):
        script = {"GET": [answer(body=b"old"), answer(body=b"new")], "PUT": [unavailable(), Answer(status=204)]}
        rig = self.cached(lambda request: script[request.method].pop(0))
        self.assertEqual(rig.fetch().body, b"old")
        self.assertEqual(rig.fetch("PUT", body=b"x").status, 503)
        self.assertEqual(rig.fetch().body, b"old")  # it was not changed
        self.assertEqual(rig.fetch("PUT", body=b"x").status, 204)
        self.assertEqual(rig.fetch().body, b"new")
        self.assertEqual(rig.fetch().body, b"new")


class Directives(Caching):
    def test_what_may_not_be_stored_is_not(self):
        answers = {"/no-store": answer("no-store"), "/private": answer("private, max-age=60"),
                   "/set-cookie": answer(Set_Cookie="a=b"), "/vary": answer(Vary="*"), "/missing": Answer(status=404),
                   "/no-cache": answer("no-cache")}
        rig = self.cached(lambda request: answers[request.target])
        for target in answers:
            with self.subTest(target):
                before = len(rig.up.heads)
                for _ in range(2):
                    self.assertIsNone(rig.fetch("GET", target).get("Age"))
                self.assertEqual(len(rig.up.heads) - before, 2)
        self.looked_up(rig, "hit", 0)

    def test_what_is_someones_own_takes_no_part(self):
        rig = self.cached(lambda _request: answer())
        rig.fetch()
        for field in (("Authorization", "Basic x"), ("Cookie", "a=b"), ("Range", "bytes=0-1")):
            with self.subTest(field[0]):
                response = rig.fetch(headers=[field])
                self.assertIsNone(response.get("Age"))
                self.assertEqual(rig.timeline(response)["cache"], "bypass")
        self.assertEqual(len(rig.up.heads), 4)
        self.looked_up(rig, "bypass", 3)

    def test_what_the_response_says_wins_over_the_ttl(self):
        answers = {"/none": answer("max-age=0"), "/long": answer("max-age=60"), "/silent": answer()}
        rig = self.cached(lambda request: answers[request.target], {"ttl": "1h"})
        self.assertEqual([len([rig.fetch("GET", target) for _ in range(2)]) for target in answers], [2, 2, 2])
        self.assertEqual([request.target for request in rig.up.heads], ["/none", "/none", "/long", "/silent"])
        rig = self.cached(lambda request: answers[request.target], {"ttl": "0s"})
        self.assertEqual([len([rig.fetch("GET", target) for _ in range(2)]) for target in answers], [2, 2, 2])
        self.assertEqual([request.target for request in rig.up.heads], ["/none", "/none", "/long", "/silent", "/silent"])

    def test_who_wants_only_what_is_stored_gets_that_or_504(self):
        rig = self.cached(lambda _request: answer())
        only = [("Cache-Control", "only-if-cached")]
        refused = rig.fetch(headers=only)
        self.check(rig, refused, 504, "not_cached", [], outcome="rejected", upstream=0)
        self.assertEqual(refused.get("X-Outrigger-Reason"), "not_cached")
        self.assertIn("error=http_request_denied", refused.get("Proxy-Status"))
        self.assertEqual(rig.timeline(refused)["cache"], "unsatisfiable")
        rig.fetch()
        self.assertEqual(rig.fetch(headers=only).status, 200)
        self.assertEqual(len(rig.up.heads), 1)
        self.looked_up(rig, "unsatisfiable", 1)

    def test_who_wants_a_fresh_answer_gets_one_and_leaves_it_for_the_others(self):
        bodies = iter([b"one", b"two", b"three"])
        rig = self.cached(lambda _request: answer(body=next(bodies)))
        self.assertEqual(rig.fetch().body, b"one")
        self.assertEqual(rig.fetch(headers=[("Cache-Control", "no-cache")]).body, b"two")
        self.assertEqual(rig.fetch().body, b"two")

    def test_in_bad_times_an_old_answer_is_better_than_none(self):
        script = [answer("max-age=0", b"old"), unavailable()]
        rig = self.cached(script, {"stale_if_error": "10m"})
        rig.fetch()
        response = rig.fetch()
        self.assertEqual((response.status, response.body, response.get("X-Outrigger-Fallback")),
                         (200, b"old", "http_503"))
        timeline = rig.timeline(response)
        self.assertEqual((timeline["outcome"], timeline["reason"], timeline["cache"], timeline["fallback"]),
                         ("fallback", "http_5xx", "stale", "http_503"))
        self.looked_up(rig, "stale", 1)
        self.becomes(lambda: rig.metric("fallbacks_total", policy="t.Op"), 1)


class Coalescing(Caching):
    def asked_together(self, count, first, then=answer()):
        """A rig that `count` clients ask for the same; the upstream holds its first answer."""
        hold = threading.Event()
        self.addCleanup(hold.set)
        first.hold = hold
        answers = iter([first])
        rig = self.cached(lambda _request: next(answers, then))
        clients = [rig.client().ask()]
        self.becomes(lambda: len(rig.up.heads), 1)
        clients += [rig.client().ask() for _ in range(count - 1)]
        self.becomes(lambda: rig.metric("requests_in_flight", policy="t.Op"), count)
        return rig, clients, hold

    def test_one_request_asks_for_all(self):
        rig, clients, hold = self.asked_together(20, answer())
        self.assertEqual(rig.proxy.json("/policies/t.Op")["state"]["cache"]["waiting"], 19)
        hold.set()
        responses = [client.response() for client in clients]
        self.assertEqual([(response.status, response.body) for response in responses], [(200, b"fresh")] * 20)
        self.assertEqual(len(rig.up.heads), 1)
        self.looked_up(rig, "coalesced", 19)
        timeline = rig.timeline(responses[-1])
        self.assertEqual((timeline["outcome"], timeline["cache"], timeline["attempts"]), ("cached", "coalesced", []))
        self.assertGreater(timeline["queued_ms"], 0)
        self.assertEqual(rig.metric("queue_wait_seconds_count", part="cache"), 19)

    def test_where_the_answer_is_not_to_be_had_each_goes_alone(self):
        for first in (unavailable(), answer("no-store"), Answer(raw=b"", end="reset")):
            with self.subTest(first):
                rig, clients, hold = self.asked_together(6, first, answer("no-store", b"own"))
                hold.set()
                statuses = [client.response().status for client in clients]
                self.assertEqual(statuses[1:], [200] * 5)
                self.assertEqual(len(rig.up.heads), 6)
                self.looked_up(rig, "coalesced", 0)

    def test_who_leads_may_leave(self):
        rig, clients, hold = self.asked_together(4, answer())
        clients[0].close()
        self.assertEqual([client.response().status for client in clients[1:]], [200] * 3)
        self.assertGreater(len(rig.up.heads), 1)
        hold.set()

    def test_who_waits_keeps_its_own_deadline(self):
        rig, clients, hold = self.asked_together(2, answer())
        late = rig.fetch(headers=[("X-Request-Timeout", "100")])
        self.check(rig, late, 504, "overall_timeout", [], outcome="timeout", upstream=1)
        self.assertEqual(rig.timeline(late)["termination"], "P4")
        hold.set()
        self.assertEqual([client.response().status for client in clients], [200] * 2)

    def test_without_it_each_asks_for_itself(self):
        hold = threading.Event()
        self.addCleanup(hold.set)
        rig = self.cached(lambda _request: Answer(body=b"fresh", hold=hold), {"coalesce": False})
        clients = [rig.client().ask() for _ in range(3)]
        self.becomes(lambda: len(rig.up.heads), 3)
        hold.set()
        self.assertEqual([client.response().status for client in clients], [200] * 3)


if __name__ == "__main__":
    unittest.main()
