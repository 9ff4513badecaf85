"""Raw bytes over real sockets, several hundred cases from raw_cases.py: what is refused, what is served, and as what.

With RAW_CASES_REPORT=FILE every case is listed there with its section and how it ended.
"""
import os
import unittest

import raw_cases
from harness import KEY, EndToEnd, retry, story
from raw_cases import CHUNKED, REASONS, get, put
from upstream import OK, Answer
from wire import Truncated

TABLES = {name: table for name, table in vars(raw_cases).items() if name.isupper() and isinstance(table, list)}
_report = []


def tearDownModule():
    if path := os.environ.get("RAW_CASES_REPORT"):
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(f"{how:4}  {table:16}  {section:12}  {what}\n" for table, section, what, how in _report)
            file.write(f"{len(_report)} cases, {sum(how != 'ok' for *_, how in _report)} failed\n")


def subset(fields, names):
    wanted = {name.lower() for name in names}
    return [(name, value) for name, value in fields if name.lower() in wanted]


class RawCases(EndToEnd):
    def each(self, table, check):
        """Checks every row of a table in a subtest of its own, and puts it into the report."""
        for section, what, *rest in TABLES[table]:
            how = "FAIL"
            with self.subTest(f"{section}: {what}"):
                check(*rest)
                how = "ok"
            _report.append((table, section, what, how))

    def bears(self, message, has, lacks):
        self.assertEqual(subset(message.headers, [name for name, _ in has]), list(has))
        self.assertEqual(subset(message.headers, lacks), [])

    def serves_next(self, client):
        self.assertEqual(client.send(get()).response().status, 200)


class Requests(RawCases):
    def test_a_head_that_could_be_read_two_ways_is_refused(self):
        rig = self.rig()
        expected = dict.fromkeys(REASONS.values(), 0)

        def check(data, status):
            before = len(rig.up.heads)
            client = rig.raw(data)
            if data.startswith(b"HEAD "):
                client.expect("HEAD", "")
            self.refused(client, status, REASONS[status])
            self.assertEqual(len(rig.up.heads), before)
            expected[REASONS[status]] += 1

        self.each("REFUSED_HEADS", check)
        for reason, count in expected.items():
            self.becomes(lambda: rig.metric("requests_total", policy="_unrouted", reason=reason), count)
        self.assertEqual(len(rig.up.connections), 0)

    def test_chunks_that_could_be_read_two_ways_are_refused(self):
        rig = self.rig()

        def check(body):
            self.refused(rig.raw(put(CHUNKED, body=body)), 400, "bad_request")

        self.each("REFUSED_CHUNKS", check)
        for connection in list(rig.up.connections):
            self.given_up(connection)
        self.assertEqual(rig.up.requests, [])

    def test_what_is_only_unusual_is_served_as_what_it_means(self):
        rig = self.rig()

        def check(data, got):
            client = rig.client()
            client.expect(data.strip().split(b" ")[0].decode("latin-1"), "")
            self.assertEqual(client.send(data).response().status, 200)
            request = rig.up.heads[-1]
            self.assertIn(got.start, ("", request.start))
            self.bears(request, got.has, got.lacks)
            self.assertEqual(request.body, got.body)
            self.assertTrue(request.complete)
            client.close()

        self.each("SERVED_HEADS", check)

    def test_chunks_arrive_as_what_they_mean(self):
        rig = self.rig()

        def check(data, body, trailers):
            client = rig.raw(put(CHUNKED, body=data))
            self.assertEqual(client.response().status, 200)
            request = rig.up.heads[-1]
            self.assertEqual((request.body, tuple(request.trailers)), (body, trailers))
            self.serves_next(client)
            client.close()

        self.each("SERVED_CHUNKS", check)

    def test_a_connection_goes_on_or_ends_as_agreed(self):
        rig = self.rig(routes=[{"match": {"path": "/"}, "policy": KEY, "upstream": "up"}])

        def check(data, statuses, goes_on):
            client = rig.raw(data)
            if data.startswith(b"HEAD"):
                client.expect("HEAD", "")
            self.assertEqual([client.response().status for _ in statuses], statuses)
            if goes_on:
                self.serves_next(client)
            else:
                self.assertEqual(client.ending(), ("fin", b""))
            client.close()

        self.each("CONNECTIONS", check)


class Answers(RawCases):
    def test_an_answer_that_could_be_read_two_ways_goes_no_further(self):
        script = []
        rig = self.rig(lambda request: script.pop(0) if script else OK, policy=retry())
        client = rig.client()

        def check(data):
            script.append(Answer(raw=data))
            before = len(rig.up.heads)
            response = client.fetch()
            self.assertEqual((response.status, response.get("X-Outrigger-Reason")), (502, "protocol_error"))
            self.assertIn("error=http_protocol_error", response.get("Proxy-Status"))
            self.assertEqual(story(rig.timeline(response)), ["primary protocol_error"])
            self.given_up(rig.up.connections[rig.up.heads[before].connection])
            self.assertEqual(client.fetch().body, b"ok")

        self.each("REFUSED_ANSWERS", check)

    def test_broken_chunks_never_look_complete(self):
        script = []
        rig = self.rig(lambda request: script.pop(0) if script else OK, policy=retry())

        def check(body):
            script.append(Answer(raw=raw_cases.answer(CHUNKED, body=body)))
            before = len(rig.up.heads)
            client = rig.client()
            try:
                self.assertEqual(client.fetch("GET", "/", [("X-Request-Id", f"broken-{len(_report)}")]).status, 502)
            except Truncated:
                pass
            self.assertNotEqual(rig.timeline(f"broken-{len(_report)}")["outcome"], "ok")
            self.given_up(rig.up.connections[rig.up.heads[before].connection])
            self.assertEqual(len(rig.up.heads), before + 1)

        self.each("BROKEN_CHUNKS", check)

    def test_what_is_only_unusual_is_served_as_what_it_means(self):
        script = []
        rig = self.rig(lambda request: script.pop(0) if script else OK)

        def check(data, gives):
            script.append(Answer(raw=data, end=gives.end))
            client = rig.client()
            before = len(rig.up.heads)
            response = client.fetch(gives.method)
            self.assertEqual((response.status, response.body), (gives.status, gives.body))
            self.bears(response, gives.has, gives.lacks)
            self.assertEqual(len(response.all("Date")), 1)
            mine = rig.up.heads[before].connection
            if not gives.reused:
                self.given_up(rig.up.connections[mine])
            self.assertEqual(client.fetch().body, b"ok")
            self.assertEqual(rig.up.heads[before + 1].connection == mine, gives.reused)
            client.close()

        self.each("SERVED_ANSWERS", check)

    def test_an_answer_cut_short_never_looks_complete(self):
        script = []
        rig = self.rig(lambda request: script.pop(0) if script else OK)

        def check(data, status):
            script.append(Answer(raw=data, end="fin"))
            client = rig.client()
            client.ask("GET", "/", [("X-Request-Id", f"cut-{len(_report)}")])
            if status:
                response = client.response()
                self.assertEqual((response.status, response.get("X-Outrigger-Reason")), (status, "closed_early"))
                self.serves_next(client)
            else:
                with self.assertRaises(Truncated):
                    client.response()
            self.assertNotEqual(rig.timeline(f"cut-{len(_report)}")["outcome"], "ok")
            client.close()

        self.each("CUT_ANSWERS", check)


class Tables(unittest.TestCase):
    def test_they_name_some_hundred_cases_each_once(self):
        names = [(table, row[1]) for table, rows in TABLES.items() for row in rows]
        self.assertEqual(sorted(set(names)), sorted(names))
        self.assertGreaterEqual(len(names), 300)


if __name__ == "__main__":
    unittest.main()
