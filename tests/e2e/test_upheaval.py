"""Upstreams that are killed, stopped, reset and started again under load, as processes of their own.

Every request has one end that its client saw and the counters know; what may not be sent twice is executed at most
once; and when it is over, nothing is connected, in flight or held. OUTRIGGER_SOAK=1 makes five minutes of it.
"""
import collections
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from client import Client
from harness import KEY, EndToEnd, retry, settings
from upstream import Answer, Upstream
from wire import SANITIZED, Port, Truncated

SEED = os.environ.get("TEST_SEED", "7")
SECONDS = 300 if os.environ.get("OUTRIGGER_SOAK") else 4
CLIENTS = 25
RATE = (100 if SANITIZED and SECONDS < 60 else 500) / CLIENTS  # requests per second of each
BODY = b"b" * 3000
POLICY = {"overall_timeout": "2s",
          **retry(3, timeout_per_attempt="400ms", budget="all"),
          "hedge": {"max_hedges": 1, "delay": "50ms", "budget": "all"},
          "bulkhead": {"max_concurrent": 200, "max_queue": 100, "max_wait": "200ms"}}


class Server:
    """An upstream in a process of its own, on a port that stays the same; it writes down what it executes."""

    def __init__(self, books):
        self.port = Port()
        self.name = self.port.name
        self._books = books
        self._process = None
        self.start()

    def start(self):
        self._process = subprocess.Popen([sys.executable, "-B", __file__, str(self.port.address[1]), self._books],
                                         stdout=subprocess.PIPE)
        self._process.stdout.readline()

    def signal(self, number):
        self._process.send_signal(number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()

    def close(self):
        self.kill()
        self.port.close()


def serve(port, books):
    """The life of such a process."""
    book = os.open(books, os.O_WRONLY | os.O_APPEND)
    dice = random.Random()

    def write_down(request):
        os.write(book, f"{request.method} {request.get('X-Request-Id')}\n".encode())

    def execute(request):
        # As the answer begins, which is when the whole request is there.
        write_down(request)
        yield b"done" + b"." * dice.choice((0, 100, 40_000))

    def answer(request):
        if dice.random() > 0.02:
            return Answer(body=execute(request), framing="chunked")
        write_down(request)  # it is executed, and nobody ever hears of it
        return Answer(hold=threading.Event())

    serving = Upstream(answer, port=Port(number=port))
    print("ready", flush=True)
    signal.pause()
    serving.close()


class Asker(threading.Thread):
    """One client: it asks at a steady rate, whatever becomes of what it asked."""

    def __init__(self, address, number, over):
        super().__init__()
        self.ends = collections.Counter()
        self.done = set()  # what was answered with 200
        self.fault = None  # what a client must never see
        self._address, self._number, self._over = address, number, over
        self.start()

    def run(self):
        try:
            self._ask()
        except Exception as fault:
            self.fault = repr(fault)

    def _ask(self):
        dice = random.Random(f"{SEED} {self._number}")
        client, count = None, 0
        started = time.monotonic()
        while not self._over.wait(max(0.0, started + count / RATE - time.monotonic())):
            count += 1
            client = client or Client(self._address)
            method, name = dice.choice(("GET", "GET", "POST", "PUT")), f"u-{self._number}-{count}"
            try:
                response = client.fetch(method, "/", [("X-Request-Id", name)], body=None if method == "GET" else BODY)
                end, last = str(response.status), response.get("Connection") == "close"
            except Truncated:  # its answer had begun; the proxy says so by ending the connection
                end, last = "cut", True
            self.ends[end] += 1
            if end == "200":
                self.done.add(f"{method} {name}")
            if last:
                client.close()
                client = None
        if client:
            client.close()


class Upheaval(EndToEnd):
    def test_no_request_is_lost_and_none_is_executed_twice(self):
        books = tempfile.NamedTemporaryFile(prefix="outrigger-books-")
        self.addCleanup(books.close)
        servers = [Server(books.name) for _ in range(3)]
        for server in servers:
            self.addCleanup(server.close)
        proxy = self.start(settings([server.name for server in servers], policy=POLICY,
                                    upstream={"connect_timeout": "200ms"},
                                    budgets={"all": {"type": "ratio", "max_rate": "50%", "min_concurrency": 20}}))
        rig = self.before([], proxy)
        over = threading.Event()
        askers = [Asker(rig.proxy.address, number, over) for number in range(CLIENTS)]
        self.upset(servers, time.monotonic() + SECONDS)
        over.set()
        for asker in askers:
            asker.join()

        self.assertEqual([asker.fault for asker in askers if asker.fault], [])
        ends = sum((asker.ends for asker in askers), collections.Counter())
        asked = sum(ends.values())
        self.assertGreater(ends["200"], asked / 2, ends)
        self.assertGreater(asked, SECONDS * CLIENTS * RATE / 4, ends)
        self.becomes(lambda: int(rig.metric("requests_total")), asked)
        executed = collections.Counter(books.read().decode().split("\n"))
        twice = {what: times for what, times in executed.items() if what.startswith("POST ") and times > 1}
        self.assertEqual(twice, {})
        self.assertEqual({what for asker in askers for what in asker.done} - executed.keys(), set())
        self.at_rest(rig)

    def upset(self, servers, end):
        """One of the servers at a time is not what it was; at least one is left alone."""
        dice = random.Random(SEED)
        while (left := end - time.monotonic()) > 0:
            server = dice.choice(servers[:2])
            lasts = min(left, dice.choice((0, dice.uniform(0.1, 1.5))))
            if dice.random() < 0.5:
                server.kill()
                self.let_pass(lasts)
                server.start()
            else:
                server.signal(signal.SIGSTOP)
                self.let_pass(lasts)
                server.signal(signal.SIGCONT)
            self.let_pass(min(max(0.0, end - time.monotonic()), dice.uniform(0.05, 0.5)))

    @staticmethod
    def let_pass(seconds):
        """The course of events is what is tested here, and its times are part of it."""
        threading.Event().wait(seconds)


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2])
