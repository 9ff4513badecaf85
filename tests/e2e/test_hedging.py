"""What hedging is for: to be rid of the slowest answers of an upstream that is now and then slow, for little more load.

Clients and upstream run on one event loop, so that the figures are those of the proxy and not of threads that wait for
each other. How late that loop runs tells whether the machine let anything be measured: what takes 40 ms cannot be judged
where everything stands still for as long, whatever the proxy does.
"""
import asyncio
import collections
import random
import threading
import time
import unittest

from harness import EndToEnd
from upstream import Answer

FAST, SLOW, SHARE = 0.040, 0.800, 0.02  # seconds, seconds, and how many answers are slow
CLIENTS, WARM_UP, REQUESTS = 12, 200, 1200
BEAT, CALM = 0.005, FAST  # seconds; a loop that was never later than that could measure
REQUEST = b"GET / HTTP/1.1\r\nHost: rig.test\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
# The last resort of a busy machine, where many answers are late at once: no more than a twentieth is sent twice.
BUDGET = {"type": "window", "max_rate": "5%", "min_per_second": 0}
HEDGE = {"trigger": "p95", "min_samples": 50, "budget": BUDGET}

Figures = collections.namedtuple("Figures", "p50 p99 attempts late")


class Server(asyncio.Protocol):
    """Answers each request in its time, which is drawn for it."""

    def __init__(self, draw, connections):
        self._draw = draw
        self._connections = connections
        self._seen = b""

    def connection_made(self, transport):
        self._transport = transport
        self._connections.append(transport)

    def data_received(self, data):
        self._seen += data
        if self._seen.endswith(b"\r\n\r\n"):
            self._seen = b""
            asyncio.get_running_loop().call_later(SLOW if self._draw() < SHARE else FAST, self._answer)

    def _answer(self):
        if not self._transport.is_closing():
            self._transport.write(ANSWER)


class Heart:
    """How late, at worst, the event loop has been with what was due every `BEAT`, in seconds."""

    def __init__(self):
        self.late = 0
        self._beat(time.monotonic())

    def _beat(self, due):
        now = time.monotonic()
        self.late = max(self.late, now - due)
        self._next = asyncio.get_running_loop().call_later(BEAT, self._beat, now + BEAT)

    def stop(self):
        self._next.cancel()


async def ask(address, count):
    """The times that `count` requests took, sent by all clients together."""
    left = iter(range(count))
    times = []

    async def client():
        reader, writer = await asyncio.open_connection(*address)
        for _ in left:
            begun = time.monotonic()
            writer.write(REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(2)
            times.append(time.monotonic() - begun)
            assert head.startswith(b"HTTP/1.1 200 "), head
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return sorted(times)


class Tail(EndToEnd):
    def measured(self, policy):
        return asyncio.run(self._measured(policy))

    async def _measured(self, policy):
        loop, draw = asyncio.get_running_loop(), random.Random(7).random
        connections = []
        servers = [await loop.create_server(lambda: Server(draw, connections), "127.0.0.1", 0) for _ in range(2)]
        rig = self.rig(servers=[], endpoints=["%s:%d" % server.sockets[0].getsockname() for server in servers],
                       policy=policy)
        await ask(rig.proxy.address, WARM_UP)
        before = rig.metric("attempts_total")
        heart = Heart()
        times = await ask(rig.proxy.address, REQUESTS)
        heart.stop()
        attempts = rig.metric("attempts_total") - before
        for each in (*servers, *connections):
            each.close()
        await asyncio.sleep(0)
        return Figures(times[len(times) // 2], times[len(times) * 99 // 100], attempts / REQUESTS, heart.late)

    def test_hedges_under_way_are_told_from_retries(self):
        hold = threading.Event()
        self.addCleanup(hold.set)
        rig = self.rig(lambda _request: Answer(hold=hold),
                       policy={"hedge": {"delay": "20ms", "budget": {"type": "ratio", "min_concurrency": 1}}})
        client = rig.client().ask()
        self.becomes(lambda: rig.metric("budget_in_flight", kind="hedge"), 1)
        self.assertEqual(rig.metric("budget_in_flight", kind="retry"), 0)
        hold.set()
        self.assertEqual(client.response().status, 200)
        self.becomes(lambda: rig.metric("budget_in_flight"), 0)

    def test_a_body_may_have_come_with_its_head(self):
        hold = threading.Event()
        self.addCleanup(hold.set)
        rig = self.rig(*2 * [lambda asked: Answer(body=b"late", hold=hold) if asked.get("X-Outrigger-Hedge") is None
                             else Answer(body=b"hedge")],
                       policy={"hedge": {"delay": "50ms", "methods": ["PUT"], "budget": {"type": "unlimited"}}})
        for pieces in ([b"hello"], [b"", b"hello"]):
            client = rig.client()
            client.expect("PUT", "")
            client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n" + pieces[0])
            for piece in pieces[1:]:
                self.becomes(lambda: rig.metric("requests_in_flight"), 1)
                client.send(piece)
            self.assertEqual(client.response().body, b"hedge")

    def test_a_twentieth_more_attempts_takes_the_slowest_percents_off(self):
        plain, hedged = self.measured({}), self.measured({"hedge": HEDGE})
        print("; ".join(f"{name}: p50 {1000 * figures.p50:.0f} ms, p99 {1000 * figures.p99:.0f} ms, "
                        f"{figures.attempts:.3f} attempts per request, {1000 * figures.late:.0f} ms late at worst"
                        for name, figures in (("without", plain), ("with hedges", hedged))), flush=True)
        self.assertLessEqual(hedged.attempts, 1.06 * plain.attempts)
        if max(plain.late, hedged.late) > CALM:
            self.skipTest("this machine stood still for longer than an answer takes, which is most of any p99 here")
        self.assertGreaterEqual(plain.p99, 5 * hedged.p99)


if __name__ == "__main__":
    unittest.main()
