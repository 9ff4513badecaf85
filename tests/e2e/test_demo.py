"""`outrigger demo`: what a newcomer sees in the first minute."""
import json
import os
import re
import select
import signal
import subprocess
import unittest

from client import Client
from harness import eventually, story
from wire import BINARY, PATIENCE

URL = re.compile(r"http://127\.0\.0\.1:(\d+)")


class Demo(unittest.TestCase):
    def setUp(self):
        self.process = subprocess.Popen([BINARY, "demo"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT)
        self.addCleanup(self.process.stdout.close)
        self.addCleanup(self.process.wait)
        self.addCleanup(self.process.kill)
        self.said = ""

    def read(self):
        """Takes in what was printed until now; true while there may be more."""
        while select.select([self.process.stdout], [], [], 0)[0]:
            piece = os.read(self.process.stdout.fileno(), 4096)
            if not piece:
                return False
            self.said += piece.decode()
        return True

    def ports(self):
        self.assertTrue(self.read() or self.process.poll() is None, self.said)
        return list(dict.fromkeys(int(port) for port in URL.findall(self.said)))

    @staticmethod
    def get(port, target="/"):
        with Client(("127.0.0.1", port)) as client:
            return client.fetch("GET", target, [("Connection", "close")], host=f"127.0.0.1:{port}")

    def timelines(self, port, query=""):
        response = self.get(port, "/timelines" + query)
        return json.loads(response.body)["timelines"] if response.status == 200 else None

    def is_admin(self, port):
        response = self.get(port, "/timelines")
        return response.status == 200 and response.body.startswith(b'{"timelines"')

    def test_a_retried_503_is_seen_in_its_timeline(self):
        eventually(lambda: len(self.ports()) >= 2, f"the addresses of proxy and admin are printed: {self.said}")
        self.assertIn("curl", self.said)
        admin = eventually(lambda: next((port for port in self.ports() if self.is_admin(port)), None),
                           "the admin API answers")
        proxy = next(port for port in self.ports() if port != admin)

        def retried():
            self.get(proxy)
            return [timeline for timeline in self.timelines(admin, "?kind=retry")
                    if story(timeline) == ["primary http_503", "retry success"]]

        self.assertEqual(eventually(retried, "a 503 is retried")[0]["status"], 200)
        self.assertEqual(self.get(admin, "/metrics").status, 200)
        self.process.send_signal(signal.SIGINT)
        self.assertEqual(self.process.wait(PATIENCE), 0)
        self.read()
        self.assertNotIn("Sanitizer", self.said)


if __name__ == "__main__":
    unittest.main()
