"""Starting, reloading, draining and stopping, with traffic on the line."""
import json
import signal
import threading
import unittest

from client import Client
from harness import INSTANCE, EndToEnd, Rig, eventually, retry, settings
from upstream import Answer, Upstream, unavailable
from wire import Truncated


class Start(EndToEnd):
    def test_the_ready_line_names_what_listens(self):
        rig = self.rig(listeners=[{"name": name, "listen": "127.0.0.1:0"} for name in ("one", "two")],
                       route={"match": {"listener": "any"}})
        self.assertEqual(rig.proxy.ready["event"], "ready")
        self.assertEqual(set(rig.proxy.listeners), {"one", "two"})
        for listener in ("one", "two"):
            self.assertEqual(rig.client(listener).fetch().status, 200)
        self.assertEqual(rig.proxy.call("/readyz").status, 200)

    def test_an_instance_name_is_made_up(self):
        up = Upstream()
        config = settings([up.name])
        del config["instance"]
        proxy = self.start(config).wait_ready()
        rig = Rig(proxy, [up])
        self.addCleanup(self._close, rig)
        names = {rig.fetch().get("Via") for _ in range(3)}
        self.assertEqual(len(names), 1)
        self.assertRegex(names.pop(), r"^1\.1 outrigger-[0-9a-f]{8}$")

    def test_it_starts_without_its_upstream(self):
        up = Upstream()
        up.refuse()
        rig = self.rig(servers=[up])
        self.assertEqual(rig.fetch().status, 502)
        up.open()
        self.assertEqual(rig.fetch().status, 200)


class Stop(EndToEnd):
    def busy(self, **config):
        """A rig with one request held by its upstream."""
        hold = threading.Event()
        self.addCleanup(hold.set)
        rig = self.rig(lambda request: Answer(body=b"done", hold=hold if request.target == "/held" else None), **config)
        client = rig.client().ask("GET", "/held")
        self.becomes(lambda: len(rig.up.heads), 1)
        return rig, client, hold

    def not_ready(self, rig):
        self.becomes(lambda: rig.proxy.call("/readyz").status, 503)

    def test_what_is_in_flight_finishes_first(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(number.name):
                rig, client, hold = self.busy(drain={"delay": "0s", "grace": "20s"})
                rig.proxy.send(number)
                self.not_ready(rig)
                self.assertEqual(rig.proxy.call("/healthz").status, 200)
                self.assertEqual(rig.metric("draining"), 1)
                hold.set()
                response = client.response()
                self.assertEqual((response.body, response.get("Connection", "").lower()), (b"done", "close"))
                self.assertEqual(client.ending(), ("fin", b""))
                self.assertEqual(rig.proxy.wait(), 0)
                rig.proxy.stop()

    def test_neighbours_are_served_while_anything_is_in_flight(self):
        rig, client, hold = self.busy(drain={"delay": "0s", "grace": "20s"})
        rig.proxy.send(signal.SIGTERM)
        self.not_ready(rig)
        for _ in range(3):
            response = rig.fetch()
            self.assertEqual((response.status, response.get("Connection", "").lower()), (200, "close"))
        hold.set()
        self.assertEqual(client.response().body, b"done")
        self.assertEqual(rig.proxy.wait(), 0)

    def test_draining_on_request_stays_up_until_a_signal(self):
        rig = self.rig(drain={"delay": "0s", "grace": "5s"})
        self.assertEqual(rig.fetch().status, 200)
        self.assertEqual(rig.proxy.call("/drain", "POST", body=b"").status, 200)
        self.not_ready(rig)
        with self.assertRaises((ConnectionError, Truncated)):
            eventually(lambda: rig.fetch().status != 200, "nothing listens any more")
        self.assertEqual([rig.proxy.call(target).status for target in ("/healthz", "/readyz", "/metrics", "/timelines")],
                         [200, 503, 200, 200])
        rig.proxy.send(signal.SIGTERM)
        self.assertEqual(rig.proxy.wait(), 0)

    def test_during_the_delay_all_is_served_as_before(self):
        rig = self.rig(drain={"delay": "400ms", "grace": "5s"})
        rig.proxy.send(signal.SIGTERM)
        self.not_ready(rig)
        self.assertEqual(rig.fetch().status, 200)
        self.assertEqual(rig.proxy.wait(), 0)
        rig.proxy.stop()

    def test_interrupting_skips_the_delay(self):
        rig = self.rig(drain={"delay": "10m", "grace": "5s"})
        rig.proxy.send(signal.SIGINT)
        self.assertEqual(rig.proxy.wait(), 0)
        rig.proxy.stop()

    def test_interrupting_ends_a_delay_under_way(self):
        rig = self.rig(drain={"delay": "10m", "grace": "5s"})
        self.assertEqual(rig.proxy.call("/drain", "POST", body=b"").status, 200)
        self.not_ready(rig)
        rig.proxy.send(signal.SIGINT)
        self.assertEqual(rig.proxy.wait(), 0)
        rig.proxy.stop()

    def test_once_drained_it_still_tells_what_happened_and_refuses_to_reload(self):
        rig = self.rig(drain={"delay": "0s", "grace": "0s"})
        response = rig.fetch()
        self.assertEqual(rig.proxy.call("/drain", "POST", body=b"").status, 200)
        self.becomes(lambda: rig.proxy.call("/reload", "POST", body=b"").status, 422)
        self.assertEqual(rig.timeline(response)["status"], 200)
        self.assertEqual(len(rig.proxy.timelines()), 1)
        rig.proxy.send(signal.SIGTERM)
        self.assertEqual(rig.proxy.wait(), 0)
        rig.proxy.stop()

    def test_beyond_the_grace_requests_are_cut(self):
        rig, client, _hold = self.busy(drain={"delay": "0s", "grace": "200ms"})
        rig.proxy.send(signal.SIGTERM)
        try:
            self.assertIn(client.response().status, (502, 503, 504))
        except (Truncated, ConnectionResetError):
            pass
        self.given_up(rig.up.connections[0])
        self.assertEqual(rig.proxy.wait(), 0)
        rig.proxy.stop()

    def test_idle_connections_do_not_hold_it_up(self):
        rig = self.rig(drain={"delay": "0s", "grace": "1h"})
        client = rig.client()
        client.fetch()
        rig.proxy.send(signal.SIGTERM)
        self.assertEqual(client.ending(), ("fin", b""))
        self.assertEqual(rig.proxy.wait(), 0)
        rig.proxy.stop()

    def test_a_second_signal_ends_it_at_once(self):
        for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
            with self.subTest(number.name):
                rig, client, _hold = self.busy(drain={"delay": "0s", "grace": "1h"})
                rig.proxy.send(number)
                self.not_ready(rig)
                rig.proxy.send(number)
                self.assertEqual(rig.proxy.wait(), status)
                rig.proxy.stop(expect=status)
                client.close()


class Reload(EndToEnd):
    def reloads(self, rig, result):
        return rig.metric("config_reloads_total", result=result)

    def reload(self, rig, config):
        """Replaces the file and waits until the new one is in force."""
        before = rig.metric("config_generation")
        rig.proxy.write(config)
        rig.proxy.send(signal.SIGHUP)
        eventually(lambda: rig.metric("config_generation") > before, "the new configuration is in force")

    def test_under_load_no_request_is_lost(self):
        rig = self.rig()
        stop, lost, served = threading.Event(), [], [0] * 4

        def load(index):
            with Client(rig.proxy.address) as client:
                while not stop.is_set():
                    try:
                        response = client.fetch()
                        if (response.status, response.body) != (200, b"ok"):
                            lost.append(response)
                    except Exception as error:  # whatever it was, the request is lost
                        return lost.append(error)
                    served[index] += 1
            return None

        clients = [threading.Thread(target=load, args=(index,)) for index in range(4)]
        for client in clients:
            client.start()
        for number in range(20):
            self.reload(rig, settings([rig.up.name], policy={"overall_timeout": f"{number + 5}s"}))
        stop.set()
        for client in clients:
            client.join()
        self.assertEqual(lost, [])
        self.assertGreater(min(served), 0)
        self.becomes(lambda: rig.metric("requests_total", reason="success"), sum(served))
        self.becomes(lambda: rig.metric("requests_in_flight"), 0)
        self.assertEqual(rig.timeline(rig.fetch())["deadline_ms"], 24_000)

    def test_a_bad_file_changes_nothing(self):
        rig = self.rig()
        generation = rig.metric("config_generation")
        rig.proxy.write(settings([rig.up.name], policy={"overall_timeout": "never"}))
        rig.proxy.send(signal.SIGHUP)
        self.becomes(lambda: rig.metric("config_last_reload_success"), 0)
        self.assertEqual(rig.metric("config_generation"), generation)
        self.assertIn("overall_timeout", rig.proxy.call("/config").body.decode().split("last_error", 1)[1])
        eventually(lambda: "policies.t.Op.overall_timeout" in rig.proxy.stderr(), "the log names the key")
        self.assertEqual(rig.fetch().status, 200)
        self.reload(rig, settings([rig.up.name], policy={"overall_timeout": "3s"}))
        self.assertEqual(rig.metric("config_last_reload_success"), 1)

    def test_on_request_it_answers_with_the_result(self):
        rig = self.rig()
        rig.proxy.write(settings([rig.up.name], policy={"overall_timeout": "3s"}))
        response = rig.proxy.call("/reload", "POST", body=b"")
        self.assertEqual((response.status, json.loads(response.body)["generation"]),
                         (200, rig.metric("config_generation")))
        self.assertEqual(rig.timeline(rig.fetch())["deadline_ms"], 3000)
        rig.proxy.write(settings([rig.up.name], policy={"overall_timeout": "never"}))
        response = rig.proxy.call("/reload", "POST", body=b"")
        self.assertEqual((response.status, "policies.t.Op.overall_timeout" in response.body.decode()), (422, True))
        self.assertEqual(rig.timeline(rig.fetch())["deadline_ms"], 3000)

    def test_a_reload_says_its_warnings(self):
        rig = self.rig()
        config = settings([rig.up.name], policy={"overall_timeout": "2s", "retry": {"timeout_per_attempt": "3s"}})
        rig.proxy.write(config)
        response = rig.proxy.call("/reload", "POST", body=b"")
        warnings = json.loads(response.body)["warnings"]
        self.assertEqual((response.status, len(warnings)), (200, 1))
        self.assertIn("warning: policies.t.Op.retry.timeout_per_attempt: ", warnings[0])
        eventually(lambda: warnings[0] in rig.proxy.stderr(), "the log has it, too")
        # As at the start, whether anything has changed or not.
        rig.proxy.send(signal.SIGHUP)
        eventually(lambda: rig.proxy.stderr().count(warnings[0]) == 2, "each reload says it")
        rig.proxy.write({**config, "version": 2})
        response = rig.proxy.call("/reload", "POST", body=b"")
        self.assertEqual((response.status, json.loads(response.body)["warnings"]), (422, warnings))

    def test_the_admin_api_goes_by_the_hosts_of_the_reloaded_file(self):
        rig = self.rig(admin={"listen": "127.0.0.1:0", "allowed_hosts": ["old.test"]})

        def statuses():
            return [rig.proxy.call("/config", headers=[("Host", host)]).status for host in ("old.test", "new.test")]

        self.assertEqual(statuses(), [200, 403])
        self.reload(rig, settings([rig.up.name], admin={"listen": "127.0.0.1:0", "allowed_hosts": ["new.test"]}))
        self.assertEqual(statuses(), [403, 200])

    def test_a_chain_of_parents_that_is_too_long_changes_nothing(self):
        rig = self.rig()
        config = settings([rig.up.name])
        config["policies"].update({f"p{number}": {"extends": f"p{number + 1}"} for number in range(10_000)})
        config["policies"]["p10000"] = {}
        rig.proxy.write(config)
        response = rig.proxy.call("/reload", "POST", body=b"")
        self.assertEqual((response.status, rig.proxy.call("/healthz").status), (422, 200))

    def test_unchanged_content_makes_no_new_generation(self):
        config = settings(["127.0.0.1:9"])
        proxy = self.start(config).wait_ready()
        rig = Rig(proxy, [])
        self.addCleanup(self._close, rig)
        generation, count = rig.metric("config_generation"), rig.metric("config_reloads_total")
        proxy.send(signal.SIGHUP)
        eventually(lambda: rig.metric("config_reloads_total") > count, "the reload is counted")
        self.assertEqual(rig.metric("config_generation"), generation)

    def test_a_request_in_flight_keeps_its_configuration(self):
        hold = threading.Event()
        first, second = Upstream([Answer(body=b"old", hold=hold)]), Upstream([Answer(body=b"new")])
        self.addCleanup(second.close)
        rig = self.rig(servers=[first])
        client = rig.client().ask()
        self.becomes(lambda: len(first.heads), 1)
        self.reload(rig, settings([second.name]))
        self.assertEqual(rig.fetch().body, b"new")
        hold.set()
        response = client.response()
        self.assertEqual(response.body, b"old")
        self.assertLess(rig.timeline(response)["config_generation"], rig.metric("config_generation"))

    def test_state_is_kept_by_name(self):
        def config(capacity, timeout):
            return settings([rig.up.name], policy={"overall_timeout": timeout, **retry(2, budget={
                "type": "token_bucket", "capacity": capacity, "refill_per_second": 0})})

        rig = self.rig(lambda _: unavailable(),
                       policy=retry(2, budget={"type": "token_bucket", "capacity": 1, "refill_per_second": 0}))
        self.assertEqual(len(rig.timeline(rig.fetch())["attempts"]), 2)
        self.reload(rig, config(1, "9s"))
        timeline = rig.timeline(rig.fetch())
        self.assertEqual((len(timeline["attempts"]), timeline["stop_reason"], timeline["deadline_ms"]),
                         (1, "budget_denied", 9000))

    def test_a_changed_listener_needs_a_restart_and_says_so(self):
        rig = self.rig()
        config = settings([rig.up.name])
        config["listeners"].append({"name": "more", "listen": "127.0.0.1:0"})
        config["routes"][0]["match"] = {"listener": "any"}
        rig.proxy.write(config)
        rig.proxy.send(signal.SIGHUP)
        eventually(lambda: "restart" in rig.proxy.stderr(), "the log asks for a restart")
        self.assertEqual(rig.fetch().status, 200)


class Quiet(EndToEnd):
    def test_standard_output_has_the_ready_line_alone_and_logs_go_to_standard_error(self):
        rig = self.rig(telemetry={"log": {"level": "debug", "format": "json"}})
        self.assertEqual(rig.fetch().get("Via"), f"1.1 {INSTANCE}")
        rig.proxy.stop()  # which demands that nothing more was written to standard output


if __name__ == "__main__":
    unittest.main()
