"""Runs the shipped binary for a test and looks at it from three sides: client, upstream, and the timeline and metrics.

A Rig is one proxy in front of scripted upstreams. When a test fails, the rig's last timelines and its standard error
are printed. Nothing sleeps: `eventually` and `becomes` wait for a condition, as long as TEST_PATIENCE allows.
"""
import collections
import json
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from client import Client
from upstream import Upstream
from wire import BINARY, PATIENCE

KEY = "t.Op"        # the policy key of a rig's one route
INSTANCE = "rig"
REPOSITORY = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
HELD = ("downstream_connections", "requests_in_flight", "upstream_connections", "budget_in_flight", "buffer_bytes")
SANITIZER_MARKS = ("Sanitizer", "runtime error:")


def eventually(probe, what, patience=PATIENCE):
    """The first true value of `probe()`."""
    end = time.monotonic() + patience
    while not (value := probe()):
        if time.monotonic() > end:
            raise AssertionError(f"still not so after {patience:g} s: {what} (last seen: {value!r})")
        time.sleep(0.002)
    return value


def settled(probe, quiet=0.15):
    """The value of `probe()` once it has not changed for `quiet` seconds."""
    last, since = probe(), time.monotonic()

    def still():
        nonlocal last, since
        if (now := probe()) != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > quiet

    eventually(still, "a counter comes to rest")
    return last


def address(text):
    """What a socket connects to: a path for `unix:/path`."""
    if text.startswith("unix:"):
        return text[len("unix:"):]
    host, _, port = text.rpartition(":")
    return host, int(port)


def retry(attempts=3, **more):
    """A policy that retries at once, for tests that are not about back-off."""
    return {"retry": {"max_attempts": attempts, "initial_backoff": "1ms", "max_backoff": "1ms", "jitter": "none",
                      **more}}


def settings(endpoints, policy=None, upstream=None, listener=None, route=None, **root):
    """A whole configuration with one listener, upstream, route and policy; `root` replaces or adds root keys."""
    return {
        "version": 1,
        "instance": INSTANCE,
        "workers": 2,
        "admin": {"listen": "127.0.0.1:0"},
        "listeners": [{"name": "main", "listen": "127.0.0.1:0", **(listener or {})}],
        "upstreams": {"up": {"endpoints": endpoints, **(upstream or {})}},
        "routes": [{"match": {}, "policy": KEY, "upstream": "up", **(route or {})}],
        "policies": {KEY: policy or {}},
        "drain": {"delay": "0s", "grace": "1s"},
        "telemetry": {"timelines": {"keep": 2048, "sample": "100%"}},
        **root,
    }


class Metrics:
    """One scrape, as numbers by name and labels."""
    _line = re.compile(r'^(\w+)(?:\{(.*)\})? (\S+)')
    _label = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

    def __init__(self, text):
        self.text = text
        self.samples = collections.defaultdict(list)
        for line in text.splitlines():
            if line and not line.startswith("#") and (found := self._line.match(line)):
                name, labels, value = found.groups()
                self.samples[name].append((dict(self._label.findall(labels or "")), float(value)))

    def series(self, name, **labels):
        return [(got, value) for got, value in self.samples["outrigger_" + name] if labels.items() <= got.items()]

    def sum(self, name, **labels):
        return sum(value for _, value in self.series(name, **labels))

    def held(self):
        """The gauges of what a client's going gives back, as far as they are not 0; what a cache has stays."""
        return {(name, *labels.values()): value for name in HELD for labels, value in self.series(name)
                if value and labels.get("state") != "idle" and labels.get("kind") != "cache"}


class Proxy:
    """One running process."""

    def __init__(self, config, arguments=("run", "--config", "{config}"), beside=(), descriptors=None,
                 wrap=()):
        """`beside`: folders that the configuration includes files of; `descriptors`: how many it may have open; `wrap`:
        a command that runs it."""
        self.folder = tempfile.mkdtemp(prefix="outrigger-e2e-")
        self.path = os.path.join(self.folder, "outrigger.yaml")
        for folder in beside:
            shutil.copytree(folder, os.path.join(self.folder, os.path.basename(folder)))
        self.write(config)
        self._stderr = os.path.join(self.folder, "stderr")
        with open(self._stderr, "wb") as errors:
            self.process = subprocess.Popen(
                [*wrap, BINARY, *(argument.format(config=self.path) for argument in arguments)], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=errors, preexec_fn=descriptors and (
                    lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))))
        self._said = b""
        self._timelines = None
        self.listeners, self.admin = {}, None
        self.main = "main"  # the listener that a client connects to unless it says otherwise

    def write(self, config):
        """Replaces the configuration file in one step, as an editor or a ConfigMap would."""
        with open(self.path + ".new", "w", encoding="utf-8") as file:
            file.write(config if isinstance(config, str) else json.dumps(config, indent=1))
        os.replace(self.path + ".new", self.path)

    def wait_ready(self):
        """Reads the ready line; the addresses are known from then on."""
        end = time.monotonic() + PATIENCE
        poll = select.poll()
        poll.register(self.process.stdout, select.POLLIN)
        while b"\n" not in self._said:
            piece = poll.poll(max(0.0, end - time.monotonic()) * 1000) and os.read(self.process.stdout.fileno(), 4096)
            if not piece:
                raise AssertionError(f"no ready line, exit {self.process.poll()}, said {self._said!r}\n{self.stderr()}")
            self._said += piece
        self.ready = json.loads(self._said.split(b"\n")[0])
        self.listeners = {name: address(text) for name, text in self.ready["listeners"].items()}
        self.admin = address(self.ready["admin"])
        return self

    @property
    def address(self):
        return self.listeners[self.main]

    def stderr(self):
        with open(self._stderr, encoding="utf-8", errors="replace") as errors:
            return errors.read()

    def complaint(self):
        """What of standard error explains most: its end, or the first word of a sanitizer on."""
        errors = self.stderr()
        found = [errors.find(mark) for mark in SANITIZER_MARKS if mark in errors]
        return errors[min(found):][:8000] if found else errors[-8000:]

    def resident(self):
        """Resident memory in bytes."""
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def processor_time(self):
        """Seconds of processor time used so far."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as stat:
            user, system = stat.read().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def send(self, number):
        self.process.send_signal(number)

    def wait(self):
        """The exit status, with a death by signal in the form a shell gives it."""
        status = self.process.wait(PATIENCE)
        return status if status >= 0 else 128 - status

    # ---- the admin side

    def call(self, target, method="GET", headers=(), **more):
        with Client(self.admin) as client:
            return client.fetch(method, target, [("Connection", "close"), *headers], host=self.ready["admin"], **more)

    def json(self, target):
        response = self.call(target)
        return json.loads(response.body) if response.status == 200 else None

    def metrics(self):
        return Metrics(self.call("/metrics").body.decode())

    def timelines(self, query=""):
        return self.json("/timelines" + query)["timelines"]

    # ---- the end

    def evidence(self):
        """What to print beside a failed assertion."""
        timelines = self._timelines
        if timelines is None:
            self._look()
            timelines = self._timelines
        return "\n".join(["--- last timelines", *map(json.dumps, timelines or ["(none to be had)"]),
                          "--- standard error", self.complaint()])

    def _look(self):
        try:
            self._timelines = self.timelines("?limit=5")
        except Exception as error:  # the process may be in any state by now
            self._timelines = [str(error)]

    def stop(self, expect=0, number=signal.SIGTERM):
        """Ends the process and demands that it ended well and said nothing that a sanitizer says."""
        if self.process.poll() is None:
            self._look()
            self.send(number)
        try:
            status = self.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("the proxy did not stop in time") from None
        rest = self._said.partition(b"\n")[2] + self.process.stdout.read()
        self.process.stdout.close()
        errors = self.stderr()
        marks = [mark for mark in SANITIZER_MARKS if mark in errors]
        if status != expect or rest or marks:
            raise AssertionError(f"exit {status} instead of {expect}, more on standard output: {rest!r}, "
                                 f"sanitizer marks: {marks}\n{self.complaint()}")

    def discard(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if not self.process.stdout.closed:
            self.process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Rig:
    """A proxy, the servers behind it, and the clients a test opens."""

    def __init__(self, proxy, ups):
        self.proxy = proxy
        self.ups = ups
        self._clients = []

    @property
    def up(self):
        return self.ups[0]

    def client(self, listener=None, **more):
        client = Client(self.proxy.listeners[listener or self.proxy.main], **more)
        self._clients.append(client)
        return client

    def fetch(self, *args, **more):
        """One request on a connection of its own."""
        with Client(self.proxy.address) as client:
            return client.fetch(*args, **more)

    def raw(self, data):
        return self.client().send(data)

    def timeline(self, of):
        """The timeline of a response, or of a request id."""
        request_id = of if isinstance(of, str) else of.request_id
        return eventually(lambda: self.proxy.json(f"/timelines/{request_id}"), f"a timeline of {request_id}")

    def metric(self, name, **labels):
        return self.proxy.metrics().sum(name, **labels)

    def heads(self):
        return [request for upstream in self.ups for request in upstream.heads]

    def close_clients(self):
        for client in self._clients:
            client.close()
        self._clients.clear()


def story(timeline):
    """The attempts of a timeline in short: what each was and how it ended."""
    return [f"{attempt['kind']} {attempt['reason']}" for attempt in timeline["attempts"]]


class EndToEnd(unittest.TestCase):
    """Base of all tests here."""
    maxDiff = None

    def setUp(self):
        self._proxies = []

    def run(self, result=None):
        result = result or self.defaultTestResult()
        before = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > before:
            for proxy in self._proxies:
                print(f"\n=== {self.id()}\n{proxy.evidence()}", file=sys.stderr, flush=True)
        for proxy in getattr(self, "_proxies", []):
            proxy.discard()
        return result

    def folder(self):
        """A directory of the test's own."""
        path = tempfile.mkdtemp(prefix="outrigger-e2e-")
        self.addCleanup(shutil.rmtree, path)
        return path

    def start(self, config, **more):
        """A process that has still to become ready, and will be gone after the test whatever happens."""
        proxy = Proxy(config, **more)
        self._proxies.append(proxy)
        return proxy

    def rig(self, script=(), *more_scripts, servers=None, endpoints=None, descriptors=None, flags=(), **config):
        """A ready proxy before one scripted server per script, or `servers`, each an endpoint of the upstream `up`."""
        ups = servers if servers is not None else [Upstream(each) for each in (script, *more_scripts)]
        proxy = self.start(settings(endpoints or [up.name for up in ups], **config), descriptors=descriptors,
                           arguments=("run", "--config", "{config}", *flags))
        return self.before(ups, proxy)

    def before(self, ups, proxy, number=signal.SIGTERM):
        """The rig of a started proxy once it is ready; the signal is what ends it."""
        rig = Rig(proxy, ups)
        self.addCleanup(self._close, rig, number)
        proxy.wait_ready()
        return rig

    def _close(self, rig, number=signal.SIGTERM):
        rig.close_clients()
        try:
            if rig.proxy.process.poll() is None:
                self.at_rest(rig)
                rig.proxy.stop(number=number)
        finally:
            for upstream in rig.ups:
                upstream.close()
        self.assertEqual([fault for upstream in rig.ups for fault in upstream.faults], [],
                         "the proxy wrote something that is not HTTP")

    def becomes(self, probe, expected):
        """Waits until `probe()` equals `expected`; a failure shows both."""
        seen = []
        try:
            eventually(lambda: seen.append(probe()) or seen[-1] == expected, "")
        except AssertionError:
            self.assertEqual(seen[-1], expected)

    def check(self, rig, response, status, reason, attempts, stop=None, outcome=None, upstream=None):
        """The three views of one request: the client's status, the upstream's count, the timeline and the counters."""
        timeline = rig.timeline(response)
        self.assertEqual((response.status, timeline["status"], timeline["reason"], timeline.get("stop_reason") or None),
                         (status, status, reason, stop), timeline)
        self.assertEqual(story(timeline), attempts, timeline)
        if outcome:
            self.assertEqual(timeline["outcome"], outcome, timeline)
        if upstream is not None:
            self.assertEqual(len(rig.heads()), upstream)
        eventually(lambda: rig.metric("requests_total", policy=timeline["policy"], reason=reason),
                   "the request is counted")
        for (attempt, count) in collections.Counter(attempts).items():
            kind, why = attempt.split()
            eventually(lambda: rig.metric("attempts_total", kind=kind, reason=why) >= count, f"{attempt} is counted")
        return timeline

    def at_rest(self, rig):
        """Waits until nothing is connected, in flight or held, now that the clients have left."""
        self.becomes(lambda: rig.proxy.metrics().held(), {})

    def given_up(self, connection):
        """Waits until the proxy has ended this upstream connection."""
        eventually(connection.closed.is_set, f"upstream connection {connection.number} ends")

    def refused(self, client, status, reason, upstream_untouched=None):
        """A local refusal that ends the connection in good order."""
        response = client.response()
        self.assertEqual((response.status, response.get("X-Outrigger-Reason")), (status, reason))
        self.assertEqual(response.get("Connection", "").lower(), "close")
        self.assertEqual(client.ending(), ("fin", b""))
        if upstream_untouched:
            self.assertEqual(upstream_untouched.heads, [])
        return response
