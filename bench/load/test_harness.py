"""Tests of the load bench that need no proxy: parsing of each tool's words, and the arithmetic."""

import json
import os
import shutil
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from harness import proc, scenarios, summary, tools  # noqa: E402
from harness.proxies import BACKEND_PORT, H2_BACKEND_PORT, proxies  # noqa: E402

H2LOAD = """
finished in 5.00s, 20541.20 req/s, 23.10MB/s
requests: 102770 total, 102834 started, 102706 done, 102700 succeeded, 6 failed, 6 errored, 0 timeout
status codes: 102770 2xx, 0 3xx, 0 4xx, 0 5xx
                     min         max         mean         sd        +/- sd
time for request:      212us     12.36ms      3.11ms       540us    86.20%
"""
OHA = json.dumps({
    "summary": {"average": 0.002, "total": 5.0}, "statusCodeDistribution": {"200": 1000, "503": 2},
    "errorDistribution": {"connection closed": 3},
    "latencyPercentiles": {"p50": 0.001, "p90": 0.002, "p99": 0.003, "p99.9": 0.004, "p99.99": None},
})
WRK = 'Running 5s test\nwrk-json {"requests":10,"seconds":5.0,"bytes":99,"errors":{"connect":1,"read":0,"write":0,' \
      '"status":2,"timeout":0},"latency_us":{"mean":1,"p50":2,"p90":3,"p99":4,"p999":5,"max":6}}\n'
GENERATOR = '{"requests":5,"seconds":2.0,"errors":{"connection":1,"status":0,"body":1},"latency_us":{"p50":1},' \
            '"cpu_ns":{"total":7},"cpu_ticks":{"user":1,"system":3},"backend":null}\n'


def rounds(*costs, user=1, system=3):
    latency = {"p50": 1, "p99": 2, "p999": 3}
    one = {"seconds": 1.0, "requests": 1000, "errors": 0, "latency_us": latency, "user_ticks": user, "system_ticks": system}
    return [one | {"cpu_ns": cost * 1_000_000} for cost in costs]


class Parsing(unittest.TestCase):
    def test_h2load(self):
        seen = tools.parse_h2load(H2LOAD)
        self.assertEqual(seen, {"requests": 102700, "seconds": 5.0, "errors": 6, "latency_us": {"mean": 3110.0}})

    def test_h2load_without_a_result_fails(self):
        with self.assertRaises(tools.Failed):
            tools.parse_h2load("could not connect")

    def test_oha(self):
        seen = tools.parse_oha(OHA)
        self.assertEqual((seen["requests"], seen["errors"]), (1000, 5))
        self.assertEqual(seen["latency_us"]["p999"], 4000.0)

    def test_wrk(self):
        self.assertEqual(tools.parse_wrk(WRK)["errors"], 3)
        with self.assertRaises(tools.Failed):
            tools.parse_wrk("unable to connect")

    def test_generator(self):
        seen = tools.parse_generator('{"open":1}\n' + GENERATOR)
        self.assertEqual((seen["errors"], seen["cpu_ns"], seen["system_ticks"]), (2, 7, 3))


class Configs(unittest.TestCase):
    def test_every_scenario_fills_every_config(self):
        for proxy in proxies("ringway").values():
            for scenario in scenarios.SCENARIOS:
                if proxy.name in scenario.without:
                    continue
                with self.subTest(proxy=proxy.name, scenario=scenario.name):
                    running = proxy.running(scenario.config, scenario.speaks)
                    try:
                        running.write()
                        self.assertNotRegex(running.config.read_text(), "@[A-Z0-9]+@")
                    finally:
                        shutil.rmtree(running.folder)

    def test_a_proxy_is_asked_for_what_it_speaks(self):
        def backend(name, *speaks):
            running = proxies("ringway")[name].running(speaks=speaks)
            self.addCleanup(shutil.rmtree, running.folder)
            return running.values["BACKEND"]

        self.assertEqual(backend("ringway", "h2", "h2c"), H2_BACKEND_PORT)
        self.assertEqual(backend("nginx", "h2", "h2c"), BACKEND_PORT)
        self.assertEqual(backend("nginx", "h2", "grpc"), H2_BACKEND_PORT)


class Arithmetic(unittest.TestCase):
    def test_cost_is_the_lower_quartile(self):
        seen = summary.of_rounds(rounds(10, 12, 14, 16, 30))
        self.assertEqual((seen["cpu_us"], seen["cpu_us_median"], seen["user_us"]), (12, 14, 3))

    def test_a_proxy_that_answers_nothing_has_no_cost(self):
        dead = [rounds(1)[0] | {"requests": 0, "errors": 9}]
        self.assertNotIn("cpu_us", summary.of_rounds(dead))
        results = {"plain": {"ringway": summary.of_rounds(dead), "nginx": summary.of_rounds(rounds(10))}}
        self.assertIn("| ringway | 0 |", summary.table(results, "plain"))

    def test_promises_hold_and_break(self):
        results = {"plain": {"ringway": summary.of_rounds(rounds(8)), "nginx": summary.of_rounds(rounds(10)),
                             "haproxy": summary.of_rounds(rounds(10))}}
        self.assertEqual([holds for _, _, holds in summary.verdicts(results)], [True, False, True])

    def test_a_run_without_ringway_has_no_ratio(self):
        results = {"plain": {"nginx": summary.of_rounds(rounds(10))}}
        self.assertEqual(len(summary.verdicts(results)), 1)
        self.assertIn("| nginx |", summary.table(results, "plain"))

    def test_a_promise_may_be_held_against_another_scenario_of_ours(self):
        results = {"plain": {"ringway": summary.of_rounds(rounds(10))}, "h1h2c": {"ringway": summary.of_rounds(rounds(10))}}
        held = {promise: holds for promise, _, holds in summary.verdicts(results)}
        self.assertIs(held["h1h2c: CPU ≤ 0.9 × our own plain"], False)

    def test_memory_is_held_against_a_bound_and_against_rivals(self):
        weigh = lambda **bytes: {name: {"bytes_per_connection": value} for name, value in bytes.items()}
        results = {"idle": weigh(ringway=1025), "idletls": weigh(ringway=9, nginx=8, haproxy=9)}
        held = [holds for promise, _, holds in summary.verdicts(results) if promise.startswith("idle")]
        self.assertEqual(held, [False, False, True])

    def test_every_scenario_is_explained(self):
        self.assertEqual(set(scenarios.ALL), set(scenarios.WHAT))


class Proc(unittest.TestCase):
    def test_our_own_process_is_seen(self):
        pids = proc.family(os.getpid())
        self.assertEqual(pids[0], os.getpid())
        self.assertGreater(proc.cpu(pids)[0], 0)
        self.assertGreater(proc.pss(pids), 1 << 20)


if __name__ == "__main__":
    unittest.main()
