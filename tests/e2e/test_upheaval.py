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
        ends, over = collections.Counter(), threading.Event()
        threads = [threading.Thread(target=self.ask, args=(rig, number, ends, over)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        self.upset(servers, time.monotonic() + SECONDS)
        over.set()
        for thread in threads:
            thread.join()

        asked = sum(ends.values())
        self.assertGreater(ends["200"], asked / 2, ends)
        self.assertGreater(asked, SECONDS * CLIENTS * RATE / 4, ends)
        self.becomes(lambda: int(rig.metric("requests_total")), asked)
        self.becomes(lambda: int(rig.metric("attempts_total", policy=KEY)), int(rig.metric("attempts_total")))
        executed = collections.Counter(books.read().decode().split("\n"))
        twice = {what: times for what, times in executed.items() if what.startswith("POST ") and times > 1}
        self.assertEqual(twice, {})
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

    def ask(self, rig, number, ends, over):
        """One client: it asks at a steady rate, whatever becomes of what it asked."""
        dice = random.Random(f"{SEED} {number}")
        client, count = None, 0
        started = time.monotonic()
        while not over.wait(max(0.0, started + count / RATE - time.monotonic())):
            count += 1
            client = client or Client(rig.proxy.address)
            method = dice.choice(("GET", "GET", "POST", "PUT"))
            try:
                response = client.fetch(method, "/", [("X-Request-Id", f"u-{number}-{count}")],
                                        body=None if method == "GET" else BODY)
                end, last = str(response.status), response.get("Connection") == "close"
            except Truncated:  # its answer had begun; the proxy says so by ending the connection
                end, last = "cut", True
            ends[end] += 1
            if last:
                client.close()
                client = None
        if client:
            client.close()


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2])
