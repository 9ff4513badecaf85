"""The command line and what a bad configuration gets."""
import glob
import os
import re
import signal
import subprocess
import unittest

from harness import REPOSITORY, EndToEnd, settings
from upstream import Upstream
from wire import BINARY, PATIENCE

GOOD = """\
version: 1
admin: { listen: 127.0.0.1:0 }
listeners:
  - { name: main, listen: 127.0.0.1:0 }
upstreams:
  up: { endpoints: [127.0.0.1:9001] }
routes:
  - { policy: a.B, upstream: up }
policies:
  a.B:
    overall_timeout: 2s
    retry:
      max_attempts: 3
"""
UNSUPPORTED = {"config_source": "config_source: {}", "telemetry.traces": "telemetry: { traces: {} }"}
CONFIG = os.path.join(REPOSITORY, "config")
EXAMPLES = sorted(glob.glob(os.path.join(CONFIG, "*.yaml")) + glob.glob(os.path.join(CONFIG, "examples", "*.yaml")))


class CommandLine(EndToEnd):
    def call(self, *arguments, environment=None):
        return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=PATIENCE,
                              stdin=subprocess.DEVNULL,
                              env={**os.environ, **(environment or {})})

    def file(self, text, name="file.yaml"):
        path = os.path.join(self.folder(), name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def findings(self, text, kind="error", status=1, environment=None):
        """The findings of one kind that `check` prints for a file, as (line, column, path, message)."""
        path = self.file(text)
        result = self.call("check", path, environment=environment)
        self.assertEqual(result.returncode, status, result.stderr)
        found = re.findall(rf"^{re.escape(path)}:(\d+):(\d+): {kind}: (?:([^\s:]+): )?(.*)$", result.stderr, re.M)
        return [(int(line), int(column), where, message) for line, column, where, message in found]

    def one(self, text, line, column, path, pattern, **more):
        found = self.findings(text, **more)
        self.assertEqual([finding[:3] for finding in found], [(line, column, path)], found)
        self.assertRegex(found[0][3], pattern)


class Check(CommandLine):
    def test_a_good_file_passes_in_silence(self):
        path = self.file(GOOD)
        result = self.call("check", path)
        self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_an_error_names_its_place_its_path_and_the_bound(self):
        self.one(GOOD.replace("max_attempts: 3", "max_attempts: 42"), 13, 21, "policies.a.B.retry.max_attempts",
                 "^must be between 1 and 10, got 42")

    def test_an_unknown_key_gets_a_suggestion(self):
        self.one(GOOD.replace("max_attempts", "max_atempts"), 13, 7, "policies.a.B.retry.max_atempts",
                 "did you mean .?max_attempts")

    def test_a_duration_needs_its_unit(self):
        self.one(GOOD.replace("overall_timeout: 2s", "overall_timeout: 2"), 11, 22, "policies.a.B.overall_timeout",
                 "unit")

    def test_a_name_must_lead_somewhere(self):
        self.one(GOOD.replace("upstream: up }", "upstream: upp }"), 8, 30, "routes[0].upstream", "upp")

    def test_a_key_given_twice(self):
        found = self.findings(GOOD + "      max_attempts: 2\n")
        self.assertEqual([(line, path) for line, _, path, _ in found], [(14, "policies.a.B.retry.max_attempts")], found)

    def test_a_wrong_type(self):
        found = self.findings(GOOD.replace("max_attempts: 3", "max_attempts: [3]"))
        self.assertEqual([finding[:3] for finding in found], [(13, 21, "policies.a.B.retry.max_attempts")], found)

    def test_a_missing_key(self):
        found = self.findings(GOOD.replace("version: 1\n", ""))
        self.assertEqual([path for _, _, path, _ in found], ["version"], found)

    def test_a_policy_key_that_looks_like_a_thing(self):
        self.assertEqual(len(self.findings(GOOD.replace("a.B", "a.deadbeefdeadbeef00"))) > 0, True)

    def test_all_errors_are_told_at_once(self):
        text = GOOD.replace("max_attempts: 3", "max_attempts: 0").replace("version: 1", "version: 2")
        text = text.replace("overall_timeout: 2s", "overall_timeout: never")
        text = text.replace("upstream: up }", "upstream: nobody }")
        found = self.findings(text + "surprise: 1\n")
        self.assertEqual({path for _, _, path, _ in found},
                         {"version", "routes[0].upstream", "policies.a.B.overall_timeout",
                          "policies.a.B.retry.max_attempts",
                          "surprise"}, found)
        self.assertEqual([line for line, *_ in found], sorted(line for line, *_ in found))

    def test_text_that_is_not_yaml(self):
        found = self.findings(GOOD + "  broken: [1, 2\n")
        self.assertEqual(len(found), 1, found)

    def test_legal_but_suspicious_settings_are_warnings(self):
        text = GOOD.replace("max_attempts: 3", "timeout_per_attempt: 3s")
        found = self.findings(text, "warning", status=0)
        self.assertIn("policies.a.B.retry.timeout_per_attempt", [path for _, _, path, _ in found])

    def test_blocks_that_are_not_supported_yet_are_errors(self):
        for path, block in UNSUPPORTED.items():
            with self.subTest(path):
                found = self.findings(f"{GOOD}\n{block}\n")
                self.assertEqual([where for _, _, where, _ in found], [path])
                self.assertIn("not supported yet", found[0][3])

    def test_the_environment_is_expanded(self):
        text = GOOD.replace("127.0.0.1:9001", '"${OUTRIGGER_TEST_UPSTREAM}"').replace("2s", "${OUTRIGGER_TEST_TIME:-2s}")
        self.assertEqual(self.findings(text, status=0, environment={"OUTRIGGER_TEST_UPSTREAM": "127.0.0.1:9001"}), [])
        found = self.findings(text)
        self.assertEqual(len(found), 1)
        self.assertIn("OUTRIGGER_TEST_UPSTREAM", found[0][3])

    def test_a_variable_of_the_environment_that_is_not_utf8_is_refused(self):
        text = GOOD.replace("    overall_timeout: 2s", '    id: "${OUTRIGGER_TEST_ID}"')
        self.one(text, 11, 9, "policies.a.B.id", "OUTRIGGER_TEST_ID is not valid UTF-8",
                 environment={"OUTRIGGER_TEST_ID": os.fsdecode(b"\xff")})

    def test_what_a_file_says_cannot_add_a_line_or_an_escape_of_its_own(self):
        self.one(GOOD.replace("2s", r'"1s\nF:1:1: error: forged\e[31m"'), 11, 22, "policies.a.B.overall_timeout",
                 r'got "1s\\nF:1:1: error: forged\\x1b\[31m"')
        path = self.file(GOOD + r'"key\nF:1:1: error: forged\u009b31m": 1' + "\n")
        self.assertEqual(self.call("check", path).stderr,
                         path + r":14:1: error: key\nF:1:1: error: forged\u009b31m: unknown key "
                         r"(a blank must follow the colon: key\nF: 1:1: error: forged\u009b31m)" + "\n")

    def test_a_long_chain_of_parents_is_an_error_and_not_the_end(self):
        for last in ("{}", "{ extends: p0 }"):
            with self.subTest(last):
                chain = "".join(f"  p{number}: {{ extends: p{number + 1} }}\n" for number in range(25_000))
                found = self.findings(GOOD + chain + f"  p25000: {last}\n")
                self.assertIn("no longer than 32", " ".join(message for *_, message in found))
                self.assertLess(len(found), 5)

    def test_inheritance_and_removal(self):
        text = GOOD + "  c.D: { extends: a.B, retry: null }\n  e.F: { extends: preset/http, overall_timeout: 5s }\n"
        self.assertEqual(self.findings(text, status=0), [])
        found = self.findings(GOOD + "  c.D: { extends: e.F }\n  e.F: { extends: c.D }\n")
        self.assertTrue(found and "c.D" in found[0][2] + found[0][3], found)

    def test_anchors_and_merge_keys(self):
        text = GOOD.replace("    retry:\n      max_attempts: 3\n", "    retry: { <<: *few, jitter: none }\n")
        self.assertEqual(self.findings("x-few: &few { max_attempts: 2 }\n" + text, status=0), [])

    def test_several_files_and_a_missing_one(self):
        good, bad = self.file(GOOD), self.file(GOOD.replace("max_attempts: 3", "max_attempts: 42"))
        result = self.call("check", good, bad)
        self.assertEqual(result.returncode, 1)
        self.assertIn(f"{bad}:13:21: error:", result.stderr)
        self.assertNotIn(good, result.stderr)
        missing = good + ".missing"
        result = self.call("check", missing)
        self.assertEqual(result.returncode, 1)
        self.assertIn(missing, result.stderr)


class Usage(CommandLine):
    def test_usage_errors_end_with_2(self):
        for arguments in ([], ["--no-such-option"], ["run"], ["run", "--config"], ["check"],
                          ["run", "--no-such-option"],
                          ["version", "surplus"]):
            with self.subTest(arguments):
                result = self.call(*arguments)
                self.assertEqual((result.returncode, result.stdout), (2, ""))
                self.assertNotEqual(result.stderr, "")

    def test_help_is_everywhere(self):
        for arguments in (["--help"], ["run", "--help"], ["check", "--help"], ["demo", "--help"]):
            with self.subTest(arguments):
                result = self.call(*arguments)
                self.assertEqual((result.returncode, result.stderr), (0, ""))
                self.assertIn("outrigger", result.stdout)

    def test_version(self):
        result = self.call("version")
        self.assertEqual(result.returncode, 0)
        self.assertRegex(result.stdout, r"\d+\.\d+\.\d+")


class Start(CommandLine):
    def test_a_bad_file_is_told_before_anything_listens(self):
        path = self.file(GOOD.replace("max_attempts: 3", "max_attempts: 42"))
        for arguments in (["run", "--config", path], [path], ["run", "--config", path, "--check-only"]):
            result = self.call(*arguments)
            self.assertEqual((result.returncode, result.stdout), (1, ""))
            self.assertIn(f"{path}:13:21: error:", result.stderr)

    def test_check_only_starts_nothing(self):
        result = self.call("run", "--config", self.file(GOOD), "--check-only")
        self.assertEqual((result.returncode, result.stdout), (0, ""))

    def test_a_missing_file(self):
        path = self.file(GOOD) + ".missing"
        result = self.call("run", "--config", path)
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertIn(path, result.stderr)

    def test_a_port_in_use_is_named(self):
        up = Upstream()
        self.addCleanup(up.close)
        for text in (GOOD.replace("name: main, listen: 127.0.0.1:0", f"name: main, listen: {up.name}"),
                     GOOD.replace("admin: { listen: 127.0.0.1:0 }", f"admin: {{ listen: {up.name} }}")):
            result = self.call("run", "--config", self.file(text))
            self.assertEqual((result.returncode, result.stdout), (1, ""))
            self.assertIn(up.name, result.stderr)

    def test_a_listener_whose_address_does_not_resolve_is_named_with_it(self):
        text = GOOD.replace("name: main, listen: 127.0.0.1:0", "name: main, listen: 'nowhere.invalid:80'")
        result = self.call("run", "--config", self.file(text))
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertIn("listener main: cannot listen on nowhere.invalid:80: the address does not resolve\n", result.stderr)

    def test_a_second_process_cannot_share_a_port(self):
        rig = self.rig()
        result = self.call("run", "--config", self.file(GOOD.replace("name: main, listen: 127.0.0.1:0",
                                                                     "name: main, listen: %s:%d" % rig.proxy.address)))
        self.assertEqual((result.returncode, result.stdout), (1, ""))

    def test_a_file_alone_means_run(self):
        proxy = self.start(settings(["127.0.0.1:9"]), arguments=["{config}"])
        proxy.wait_ready()
        proxy.stop()


class Examples(CommandLine):
    def test_every_example_passes_check_without_a_warning(self):
        self.assertGreater(len(EXAMPLES), 1)
        for path in EXAMPLES:
            with self.subTest(os.path.basename(path)):
                result = self.call("check", path)
                self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_every_example_starts_and_serves(self):
        for path in EXAMPLES:
            with self.subTest(os.path.basename(path)):
                with open(path, encoding="utf-8") as file:
                    text = re.sub(r"(\blisten: *(?:\"\${\w+:-)?127\.0\.0\.1:)\d+", r"\g<1>0", file.read())
                if not re.search(r"^admin:", text, re.M):
                    text += "\nadmin: { listen: 127.0.0.1:0 }\n"
                proxy = self.start(text, beside=glob.glob(os.path.join(os.path.dirname(path), "*.d")))
                proxy.wait_ready()
                self.assertEqual(proxy.call("/readyz").status, 200)
                proxy.stop(number=signal.SIGINT)  # which does not wait for drain.delay


if __name__ == "__main__":
    unittest.main()
