"""Peers that send nonsense, too much, too slowly or nothing at all: each costs itself at most, and nothing is left over.

TEST_SEED chooses other nonsense.
"""
import contextlib
import os
import random
import resource
import threading
import unittest

from client import Client, request
from harness import EndToEnd, eventually, retry, settled, story
from upstream import OK, Answer, Upstream, blocks
from wire import BLOCK, SANITIZED, Truncated, chunked, head

PEERS = 200
MIB = 1024 * 1024
FIELDS = [("Connection", "keep-alive"), ("X-Long", "y" * 300), ("Accept", "*/*")]
REQUESTS = [
    request("GET", "/a?b=c", FIELDS),
    request("PUT", "/length", FIELDS, body=b"0123456789" * 5),
    request("POST", "/chunks", FIELDS, chunks=[b"one", b"twenty-two" * 2], trailers=[("X-Sum", "1")]),
    request("GET", "http://other.test/x") + request("DELETE", "/next", body=b"abc") + request("OPTIONS", "*"),
    request("GET", "/old", version="HTTP/1.0"),
]
ANSWERS = [
    head("HTTP/1.1 200 OK", [*FIELDS, ("Content-Length", 10)]) + b"0123456789",
    head("HTTP/1.1 200 OK", [("Transfer-Encoding", "chunked")]) + chunked([b"one", b"two"], [("X-Sum", "1")]),
    head("HTTP/1.1 503 No", [("Retry-After", "0"), ("Content-Length", 2)]) + b"no",
    head("HTTP/1.1 103 Hints", [("Link", "</x>")]) + head("HTTP/1.1 200 OK", [("Content-Length", 2)]) + b"ok",
    head("HTTP/1.1 204 Empty", [("ETag", '"x"')]),
    head("HTTP/1.0 200 OK", FIELDS) + b"until the end",
]
TOKENS = [b"\r\n", b"\n", b"\r", b"\0", b":", b" ", b"\t", b";", b",", b"chunked", b"0\r\n\r\n", b"\r\n\r\n", b"HTTP/1.1 ",
          b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: x\r\n", b"Expect: 100-continue\r\n",
          b"ffffffffffffffff", b"-1", b"%00", b"/../", b"\xff\xfe"]


def nonsense(dice, samples):
    """Bytes that are a message no more, or only nearly one, or never were."""
    if dice.random() < 0.1:
        return dice.randbytes(dice.randrange(1, 2000))
    data = bytearray(dice.choice(samples))
    for _ in range(dice.randrange(1, 6)):
        at = dice.randrange(len(data) + 1)
        end = min(len(data), at + dice.randrange(1, 20))
        change = dice.randrange(6)
        if change == 0:
            data[at:end] = b""
        elif change == 1:
            data[at:at] = data[at:end] * dice.randrange(1, 4)
        elif change == 2:
            data[at:at] = dice.choice(TOKENS)
        elif change == 3:
            data[at:at + 1] = bytes([dice.randrange(256)])
        elif change == 4:
            data[at:at] = dice.choice(samples)
        else:
            del data[at:]
    return bytes(data) or b"\n"


class Nonsense(EndToEnd):
    SEED = int(os.environ.get("TEST_SEED", 20))

    def test_from_clients_it_never_becomes_anything_else_upstream(self):
        dice = random.Random(self.SEED)
        rig = self.rig(lambda _: Answer(echo=True), policy={"overall_timeout": "3s"},
                       limits={"head_timeout": "300ms", "body_idle_timeout": "300ms", "idle_timeout": "300ms"})
        sent = [nonsense(dice, REQUESTS) for _ in range(PEERS)]
        clients = [rig.raw(data) for data in sent]
        for data, client in zip(sent, clients):
            with self.subTest(data=data):
                while True:  # everything that comes back is HTTP, and the end is one in good order
                    try:
                        response = client.response()
                    except Truncated:
                        break
                    self.assertIn(response.status, (200, 400, 404, 405, 408, 413, 414, 417, 431, 501, 505))
                self.assertEqual(client.ending(), ("fin", b""))
        self.at_rest(rig)
        self.assertEqual(rig.fetch().status, 200)
        self.becomes(lambda: rig.metric("attempts_total"), len(rig.up.heads))
        self.assertEqual(rig.metric("requests_total", reason="internal"), 0)

    def test_the_admin_api_outlives_it(self):
        dice = random.Random(self.SEED + 2)
        rig = self.rig()
        calls = [request("GET", f"/timelines{query}", host="localhost") for query in ("", "?limit=3&status=2xx", "/x%41")]
        calls += [request("POST", "/config/validate", body=b"version: 1\nlisteners: [{}]\n", host="localhost"),
                  request("GET", "/metrics", host="localhost") + request("GET", "/config", host="127.0.0.1")]
        for _ in range(PEERS):
            data = nonsense(dice, calls)
            with self.subTest(data=data), Client(rig.proxy.admin) as client:
                client.send(data).half_close()
                with contextlib.suppress(Truncated):
                    self.assertIn(client.begin().status, (200, 400, 403, 404, 405, 413, 431, 505))
                client.ending()
        self.assertEqual(rig.proxy.call("/healthz").body, b"ok")
        self.assertEqual(rig.metric("config_generation"), 1)

    def test_from_upstreams_it_is_never_passed_off_as_an_answer(self):
        dice = random.Random(self.SEED + 1)
        sent = {f"/{number}": (nonsense(dice, ANSWERS), dice.choice(("fin", "reset", "keep")))
                for number in range(PEERS)}
        rig = self.rig(lambda asked: Answer(raw=sent[asked.target][0], end=sent[asked.target][1])
                       if asked.target in sent else OK,
                       policy={"overall_timeout": "500ms", **retry(2, budget="none")},
                       upstream={"read_idle_timeout": "500ms"})
        clients = [rig.client().ask("GET", target, [("X-Request-Id", target[1:])]) for target in sent]
        for (target, answer), client in zip(sent.items(), clients):
            with self.subTest(answer=answer):
                try:
                    response = client.response()
                except (Truncated, ConnectionResetError):
                    response = None
                timeline = rig.timeline(target[1:])
                if response is None:
                    self.assertNotIn(timeline["outcome"], ("ok", "rejected"), timeline)
                else:
                    self.assertEqual(response.status, timeline["status"], timeline)
                self.assertLessEqual(len(timeline["attempts"]), 4)
        self.assertEqual(rig.fetch("GET", "/good").body, b"ok")
        self.becomes(lambda: rig.metric("requests_total"), PEERS + 1)
        # Of an attempt on a connection that was just ending, the upstream saw nothing.
        self.assertGreaterEqual(rig.metric("attempts_total"), len(rig.heads()))


class Slow(EndToEnd):
    def drip(self, clients, data, stop):
        """Sends the same bytes to all, one after the other, until the test ends or nobody listens any more."""
        def run():
            left = list(clients)
            for byte in data:
                if stop.wait(0.01) or not left:
                    return
                for client in list(left):
                    try:
                        client.send(bytes([byte]))
                    except OSError:
                        left.remove(client)

        thread = threading.Thread(target=run)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(stop.set)

    def test_heads_that_never_end_hold_nobody_up(self):
        rig = self.rig(limits={"head_timeout": "600ms"})
        clients = [rig.client() for _ in range(PEERS // 2)]
        self.drip(clients, b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * 10_000, threading.Event())
        self.becomes(lambda: rig.metric("downstream_connections"), len(clients))
        for _ in range(50):
            self.assertEqual(rig.fetch().status, 200)
        for client in clients:
            self.refused(client, 408, "head_timeout")
        self.becomes(lambda: rig.metric("requests_total", reason="head_timeout"), len(clients))
        self.assertEqual(len(rig.up.heads), 50)

    def test_a_body_that_never_ends_ends_with_the_deadline(self):
        rig = self.rig(policy={"overall_timeout": "300ms"})
        client = rig.client().ask("PUT", headers=[("Content-Length", "100000")], body=b"")
        self.drip([client], b"x" * 100_000, threading.Event())
        response = client.response()
        self.check(rig, response, 504, "overall_timeout", ["primary overall_timeout"], "non_retryable")
        self.given_up(rig.up.connections[0])

    def test_waiting_for_any_of_them_costs_no_time(self):
        hold = threading.Event()
        plenty = Answer(body=blocks(8 * MIB), length=8 * MIB)
        answers = {"/plenty": plenty, "/held": Answer(hold=hold), "/part": Answer(body=b"late", hold_body=hold),
                   "/deaf": Answer(hold_read=hold)}
        rig = self.rig(lambda asked: answers[asked.target])
        rig.raw(b"GET / HTT")
        rig.client(receive_buffer=BLOCK).ask("GET", "/plenty")
        for target in ("/held", "/part"):
            rig.client().ask("GET", target)
        rig.raw(request("GET", "/held") + b"G" * 100_000)  # more than is kept of what comes next
        deaf = rig.client(receive_buffer=BLOCK)
        upload = threading.Thread(target=self.upload, args=(deaf, "/deaf", 8 * MIB))
        upload.start()
        self.becomes(lambda: len(rig.up.heads), 5)
        settled(rig.proxy.processor_time, quiet=0.3)
        hold.set()
        upload.join()

    @staticmethod
    def upload(client, target, size):
        try:
            client.ask("PUT", target, headers=[("Content-Length", str(size))], body=b"")
            for block in blocks(size):
                client.sock.sendall(block)
        except OSError:
            pass

    def test_an_upstream_that_never_reads_ends_with_the_deadline(self):
        hold = threading.Event()
        up = Upstream(lambda _: Answer(hold_read=hold), receive_buffer=BLOCK)
        rig = self.rig(servers=[up], policy={"overall_timeout": "500ms"})
        before = rig.proxy.resident()
        clients = [rig.client() for _ in range(4)]
        uploads = [threading.Thread(target=self.upload, args=(client, "/", 64 * MIB)) for client in clients]
        for upload in uploads:
            upload.start()
        for client in clients:
            response = client.response("PUT")
            self.assertEqual((response.status, response.get("X-Outrigger-Reason")), (504, "overall_timeout"))
        for upload in uploads:
            upload.join()
        self.assertTrue(SANITIZED or rig.proxy.resident() - before < 16 * MIB)
        hold.set()
        for connection in up.connections:
            self.given_up(connection)
        self.assertEqual(up.requests, [])


class Many(EndToEnd):
    def test_a_burst_of_pipelined_requests_is_answered_in_order(self):
        rig = self.rig(lambda asked: Answer(body=asked.target.encode(), framing="chunked" if asked.body else "length"))
        bursts = []
        for number in range(4):
            client = rig.client()
            for index in range(100):
                body = {"body": b"x" * index} if index % 3 == 1 else {"chunks": [b"y" * 9]} if index % 3 == 2 else {}
                client.ask("PUT" if body else "GET", f"/{number}/{index}", **body)
            bursts.append(client)
        for number, client in enumerate(bursts):
            self.assertEqual([client.response().body for _ in range(100)],
                             [f"/{number}/{index}".encode() for index in range(100)])
            mine = [asked.target for asked in rig.up.requests if asked.target.startswith(f"/{number}/")]
            self.assertEqual(mine, [f"/{number}/{index}" for index in range(100)])

    def test_a_burst_far_larger_than_what_is_kept_of_it_is_answered_in_order(self):
        rig = self.rig()
        client = rig.client()
        count, padding = 1000, [("X-Pad", "p" * 200)]
        sender = threading.Thread(target=client.send, args=(b"".join(
            request("GET", f"/{index}", padding) for index in range(count)),))
        sender.start()
        self.assertEqual([client.response().body for _ in range(count)], [b"ok"] * count)
        sender.join()
        self.assertEqual([asked.target for asked in rig.up.requests], [f"/{index}" for index in range(count)])

    def test_thousands_of_idle_connections_weigh_little(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        count = 5000
        rig = self.rig()
        for _ in range(20):
            rig.fetch()
        self.at_rest(rig)
        before = rig.proxy.resident()
        clients = [rig.client() for _ in range(count)]
        for client in clients:
            self.assertEqual(client.fetch().status, 200)
        self.becomes(lambda: rig.metric("downstream_connections"), count)
        each = (rig.proxy.resident() - before) / count
        self.assertTrue(SANITIZED or each <= 1024, f"{each:.0f} bytes per idle connection")
        settled(rig.proxy.processor_time, quiet=0.3)
        rig.close_clients()
        self.at_rest(rig)
        self.assertEqual(rig.metric("downstream_connections_total"), count + 20)

    @unittest.skipIf(SANITIZED, "a sanitizer keeps freed memory on purpose")
    def test_trailers_are_not_kept(self):
        count, trailers = 200, [(f"X-{number}", "t" * 900) for number in range(30)]
        rig = self.rig()
        rig.fetch("PUT", chunks=[b"x"], trailers=trailers)
        before = rig.proxy.resident()
        clients = [rig.client() for _ in range(count)]
        for client in clients:
            self.assertEqual(client.fetch("PUT", chunks=[b"x"], trailers=trailers).status, 200)
        self.assertEqual(rig.up.requests[-1].trailers[-1][1], "t" * 900)
        self.assertLess(rig.proxy.resident() - before, count * 8192)

    @unittest.skipIf(SANITIZED, "a sanitizer keeps freed memory on purpose")
    def test_the_memory_of_a_burst_goes_back(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        count = 2000
        hold = threading.Event()
        self.addCleanup(hold.set)
        rig = self.rig(lambda asked: Answer(body=b"x" * 1000, hold=hold if asked.target == "/held" else None),
                       policy={"overall_timeout": "1m"}, upstream={"connect_timeout": "30s"})
        for _ in range(20):
            rig.fetch()
        before = rig.proxy.resident()
        clients = [rig.client().ask("GET", "/held") for _ in range(count)]
        self.becomes(lambda: rig.metric("requests_in_flight"), count)
        hold.set()
        for client in clients:
            self.assertEqual(client.response().status, 200)
        # Everybody stays connected: left are idle connections of both sides, the timelines, what serves the next
        # requests, and the holes between them. Without giving back it is 18 KiB each.
        eventually(lambda: rig.proxy.resident() - before <= count * 8192, "the memory goes back")

    def test_connections_that_only_come_and_go_leave_nothing(self):
        rig = self.rig()
        for number in range(600):
            client = Client(rig.proxy.address)
            if number % 3 == 1:
                client.send(b"GET /half HTTP/1.1\r\nHo")
            (client.reset if number % 2 else client.close)()
        self.becomes(lambda: rig.metric("downstream_connections"), 0)
        self.assertEqual((rig.fetch().status, len(rig.up.heads)), (200, 1))

    @unittest.skipIf(SANITIZED, "a sanitizer needs descriptors of its own")
    def test_running_out_of_descriptors_is_survived(self):
        rig = self.rig(descriptors=64, policy=retry())
        for _ in range(100):
            rig.client().ask()
        with Client(rig.proxy.admin):
            settled(rig.proxy.processor_time, quiet=0.3)
        rig.close_clients()
        eventually(lambda: rig.fetch().status == 200, "it serves again")

    @unittest.skipIf(SANITIZED, "a sanitizer needs descriptors of its own")
    def test_clients_that_hold_descriptors_leave_enough_for_upstreams(self):
        """Half of them are for upstreams: clients beyond the other half wait to be accepted, and nobody is blamed."""
        rig = self.rig((), (), descriptors=64, workers=1, policy={"circuit": {"consecutive_failures": 1}},
                       upstream={"outlier_detection": {"consecutive_failures": 1}, "idle_timeout": "100ms"})
        clients = [rig.client() for _ in range(80)]
        eventually(lambda: rig.metric("downstream_rejected_total", reason="pool_full"), "the listener pauses")
        served = int(rig.metric("downstream_connections"))
        self.assertTrue(8 <= served <= 32, f"{served} of 64 descriptors are clients")
        hold = [client.ask() for client in clients[:served]]
        self.assertEqual([client.response().status for client in hold], [200] * served)
        self.assertEqual(settled(lambda: rig.metric("downstream_connections")), served)
        states = {endpoint["state"] for endpoint in rig.proxy.json("/upstreams")["upstreams"][0]["endpoints"]}
        self.assertEqual((rig.proxy.json("/circuits")["circuits"][0]["state"], states), ("closed", {"healthy"}))
        self.assertEqual(rig.metric("upstream_connects_total", result="pool_full"), 0)
        for client in clients[:served]:
            client.close()
        self.assertEqual(clients[served].ask().response().status, 200)


if __name__ == "__main__":
    unittest.main()
