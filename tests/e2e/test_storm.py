"""Everything at once: clients and upstreams of every temper, chosen by dice, while the configuration changes.

Whatever happens to a request, it never gets another's answer, no answer is passed off as whole that is not, nothing is
sent upstream that nobody asked for, and in the end nothing is left over. TEST_SEED chooses another course of events,
OUTRIGGER_SOAK=1 a far longer one.
"""
import os
import random
import signal
import threading
import unittest

from client import Client, new_id, request
from harness import EndToEnd, retry, settings
from upstream import HANG_UP, RESET, Answer, Upstream
from wire import Truncated, chunked, head

SEED = os.environ.get("TEST_SEED", "7")
CLIENTS = 12
ROUNDS = 3000 if os.environ.get("OUTRIGGER_SOAK") else 120  # per client
POLICY = {"overall_timeout": "1s", **retry(3, timeout_per_attempt="150ms", replay_buffer="8KiB", budget="shared")}
BUDGETS = {"shared": {"type": "ratio", "max_rate": "90%", "min_concurrency": 8}}
LOCAL = (400, 408, 413, 502, 503, 504)


def pattern(name, size):
    """Bytes that only this request can mean."""
    word = f"{name} ".encode()
    return (word * (size // len(word) + 1))[:size]


def answer_to(asked, hold):
    """What an upstream does with one attempt."""
    name = asked.get("X-Request-Id")
    dice = random.Random(f"{SEED} {name} {asked.get('X-Outrigger-Attempt')} {asked.connection}")
    size = dice.choice((0, 1, 100, 5000, 70_000, 300_000))
    body = pattern(name, size)
    fields = [("X-Echo", name)]
    framing = dice.choice(("length", "chunked", "close"))
    whole = Answer(headers=fields, body=body, framing=framing, early=dice.random() < 0.1,
                   interim=((103, [("Link", "</x>")]),) if dice.random() < 0.1 else ())
    luck = dice.random()
    if luck < 0.55:
        return whole
    if luck < 0.70:
        return Answer(status=dice.choice((429, 500, 502, 503)), headers=[*fields, ("Retry-After", "0")], body=body,
                      framing=framing, early=dice.random() < 0.3)
    if luck < 0.80:
        return dice.choice((HANG_UP, RESET))
    if luck < 0.90:
        text = (head("HTTP/1.1 200 OK", [*fields, ("Content-Length", size + 1)]) + body if dice.random() < 0.5 else
                head("HTTP/1.1 200 OK", [*fields, ("Transfer-Encoding", "chunked")]) + chunked(body)[:-2])
        return Answer(raw=text[:dice.randrange(len(text))], end=dice.choice(("fin", "reset")))
    if luck < 0.94:
        return Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", end=dice.choice(("keep", "fin")))
    if luck < 0.97:
        return Answer(hold=hold)
    return Answer(headers=fields, body=[body, body], framing="length", length=2 * size, hold_body=hold)


class Storm(EndToEnd):
    def test_no_request_gets_what_is_another_ones(self):
        hold = threading.Event()
        self.addCleanup(hold.set)
        ups = [Upstream(lambda asked: answer_to(asked, hold)) for _ in range(2)]
        rig = self.rig(servers=ups, policy=POLICY, budgets=BUDGETS, upstream={"read_idle_timeout": "150ms"},
                       limits={"body_idle_timeout": "500ms"})
        self.asked, self.answered, self.wrong, self.lock = {}, {}, [], threading.Lock()
        threads = [threading.Thread(target=self.client, args=(rig.proxy.address, number)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        number = 0
        while any(thread.is_alive() for thread in threads):
            number += 1
            rig.proxy.write(settings([up.name for up in ups], budgets=BUDGETS, upstream={"read_idle_timeout": "150ms"},
                                     limits={"body_idle_timeout": "500ms"},
                                     policy={**POLICY, "overall_timeout": f"{1000 + number % 50}ms"}))
            rig.proxy.send(signal.SIGHUP)
            threads[number % CLIENTS].join(0.05)
        self.assertEqual(self.wrong, [])
        self.at_rest(rig)
        for seen in rig.heads():
            method, size = self.asked[seen.get("X-Request-Id")]
            self.assertEqual(seen.method, method)
            body = bytes(seen.body)
            self.assertTrue(body == pattern(seen.get("X-Request-Id"), size)[:len(body)])
            self.assertTrue(len(body) == size or not seen.complete)
        failed = [(name, status) for name, status in self.answered.items() if status >= 500]
        for name, status in failed[-200:]:  # of failures every timeline is kept
            self.assertEqual(rig.timeline(name)["status"], status)
        metrics = rig.proxy.metrics()
        self.assertEqual(metrics.sum("requests_total", reason="internal"), 0)
        self.assertEqual(metrics.sum("requests_total"), metrics.sum("request_duration_seconds_count"))
        self.assertEqual(metrics.sum("attempts_total"), metrics.sum("attempt_duration_seconds_count"))
        self.assertGreaterEqual(metrics.sum("attempts_total"), len(rig.heads()))
        self.assertGreater(len(self.answered), CLIENTS * ROUNDS // 2)

    def client(self, address, number):
        """One thread's clients, one after the other."""
        dice = random.Random(f"{SEED} {number}")
        client = Client(address)
        for _ in range(ROUNDS):
            try:
                if not self.exchange(client, dice):
                    client.close()
                    client = Client(address)
            except (Truncated, OSError) as end:
                client.close()
                client = Client(address)
                if isinstance(end, TimeoutError):
                    self.wrong.append(f"{number}: {end}")
            except Exception as fault:
                self.wrong.append(repr(fault))
                raise
        client.close()

    def exchange(self, client, dice):
        """One request, or a few in a row; false when the connection is of no more use."""
        count = dice.choice((1, 1, 1, 3))
        sent = []
        for _ in range(count):
            method, size = dice.choice((("GET", 0), ("GET", 0), ("HEAD", 0), ("PUT", 3), ("PUT", 5000), ("POST", 5000),
                                        ("PUT", 50_000), ("DELETE", 0)))
            name = new_id()
            self.asked[name] = (method, size)
            body = pattern(name, size)
            form = {} if not size else {"body": body} if dice.random() < 0.5 else {
                "chunks": [body[:size // 3], body[size // 3:]]}
            data = request(method, f"/{name}", [("X-Request-Id", name)], **form)
            sent.append((method, name, data))
        leave = dice.random()
        if leave < 0.05:  # in the middle of the request
            client.send(sent[0][2][:dice.randrange(len(sent[0][2]))])
            dice.choice((client.close, client.reset, client.half_close))()
            return False
        for _, _, data in sent:
            client.send(data)
        if leave < 0.10:  # before the answer
            dice.choice((client.close, client.reset))()
            return False
        for method, name, _ in sent:
            client.expect(method, name)
            response = client.begin()
            if leave < 0.15:  # in the middle of the answer
                dice.choice((client.close, client.reset))()
                return False
            self.judge(name, client.finish(response))
            if response.get("Connection", "").lower() == "close":
                return False
        return True

    def judge(self, name, response):
        """A whole answer is this request's, from an upstream or from here."""
        self.answered[name] = response.status
        here = response.get("X-Outrigger-Reason")
        good = (response.status in LOCAL if here else
                response.get("X-Echo") == name and response.body == pattern(name, response.size))
        if not good:
            self.wrong.append((name, response.status, here, response.get("X-Echo"), bytes(response.body[:80])))


if __name__ == "__main__":
    unittest.main()
