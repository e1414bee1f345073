"""scripts/bench load: Ringway, nginx and haproxy in turn on one core, in one run.

The proxy has CPU 0, generator and backend have CPU 1. Each round starts each proxy afresh, so the
rounds of the rivals are interleaved. Prints a table a scenario and what of the promises holds, and
writes both to bench/results/ unless --no-save.
"""

import argparse
import datetime
import shlex
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from harness import events, machine, scenarios, summary, tools  # noqa: E402
from harness.proxies import Failed, proxies  # noqa: E402

ROOT = HERE.parent.parent


def arguments():
    parser = argparse.ArgumentParser(
        prog="scripts/bench load", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="scenarios:\n" + "\n".join(f"  {name:10} {scenarios.WHAT[name]}" for name in scenarios.ALL),
    )
    parser.add_argument("scenario", nargs="*", help="which to run; all when none is named")
    parser.add_argument("--proxies", default="ringway,nginx,haproxy", help="in this order; also: ringway-epoll")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=4, help="of each measurement")
    parser.add_argument("--smoke", action="store_true", help="one short round, nothing saved: does it all work?")
    parser.add_argument("--no-save", action="store_true")
    parser.add_argument("--assert", dest="asserts", action="store_true", help="exit 1 when a promise doesn't hold")
    parser.add_argument("--ringway", type=Path, default=ROOT / "target/release/ringway", help="the binary")
    args = parser.parse_args()
    unknown = [name for name in args.scenario if name not in scenarios.ALL]
    if unknown:
        parser.error(f"no scenario {', '.join(unknown)}; there are {', '.join(scenarios.ALL)}")
    if args.smoke:
        args.rounds, args.seconds, args.no_save = 1, 1, True
    args.names = args.scenario or scenarios.ALL
    return args


class Bench:
    def __init__(self, args):
        self.args = args
        known = proxies(args.ringway)
        names = args.proxies.split(",")
        if unknown := [name for name in names if name not in known]:
            sys.exit(f"no proxy {', '.join(unknown)}; there are {', '.join(known)}")
        self.proxies = [known[name] for name in names]
        self.rounds, self.results, self.skipped, self.events = {}, {}, {}, []

    def run(self):
        for name in self.args.names:
            try:
                if name in events.EVENTS:
                    self.event(name)
                    continue
                if name in scenarios.IDLES:
                    self.idle(name, scenarios.IDLES[name])
                elif name == scenarios.RATE:
                    self.fixed_rate()
                else:
                    self.scenario(scenarios.BY_NAME[name])
            except tools.Skipped as why:
                self.skipped[name] = str(why)
                print(f"\n## {name}\nskipped: {why}", flush=True)
                continue
            print(f"\n## {name}: {scenarios.WHAT[name]}\n\n{summary.table(self.results, name)}", flush=True)

    def scenario(self, scenario):
        ours = [proxy for proxy in self.proxies if proxy.name.startswith("ringway")]
        chosen = ours if scenario.ours else [proxy for proxy in self.proxies if proxy.name not in scenario.without]
        self.measure(scenario.name, chosen, scenario.run, scenario.ours or scenario.config, scenario.speaks)

    def measure(self, name, chosen, run, config="http", speaks=()):
        rounds = {proxy.name: [] for proxy in chosen}
        for number in range(self.args.rounds):
            # Each round begins with another proxy: none always has the coldest caches.
            turn = number % len(chosen) if chosen else 0
            for proxy in chosen[turn:] + chosen[:turn]:
                with proxy.running(config, speaks) as pids:
                    result = run(pids, self.args.seconds)
                rounds[proxy.name].append(result)
                cost = result["cpu_ns"] / 1000 / max(1, result["requests"])
                rate = result["requests"] / result["seconds"]
                print(f"{name} {number + 1}/{self.args.rounds} {proxy.name}: {rate:.0f}/s, {cost:.2f} µs", file=sys.stderr, flush=True)
        self.rounds[name] = rounds
        self.results[name] = {proxy: summary.of_rounds(seen) for proxy, seen in rounds.items()}

    def fixed_rate(self):
        nginx = proxies(self.args.ringway)["nginx"]
        best = []
        for _ in range(min(3, self.args.rounds)):
            with nginx.running() as pids:
                seen = tools.generator(pids, self.args.seconds)
            best.append(seen["requests"] / seen["seconds"])
        rate = round(scenarios.RATE_SHARE * max(best))
        print(f"rate: {rate}/s, {scenarios.RATE_SHARE:.0%} of {max(best):.0f}/s", file=sys.stderr, flush=True)
        self.measure(scenarios.RATE, self.proxies, lambda pids, seconds: tools.generator(pids, seconds, rate=rate))

    def idle(self, name, idle):
        count = 200 if self.args.smoke else idle.connections
        results = {}
        for proxy in self.proxies:
            with proxy.running(speaks=idle.speaks) as pids:
                seen = idle.run(pids, count)
            results[proxy.name] = seen | {"bytes_per_connection": seen["bytes"] / seen["connections"]}
        self.results[name] = results

    def event(self, name):
        """Something happens under load to each of our own: the rivals make no promise here."""
        for proxy in self.proxies:
            if proxy.name.startswith("ringway"):
                seen = events.EVENTS[name](proxy)
                self.events.append((f"{name}, {proxy.name}", seen["measured"], seen["holds"]))
                print(f"\n## {name}, {proxy.name}: {seen['measured']}", flush=True)

    def report(self):
        now = datetime.datetime.now(datetime.timezone.utc)
        return {
            "when": now.strftime("%Y-%m-%d %H:%M"),
            "command": "scripts/bench load " + shlex.join(sys.argv[1:]),
            "machine": machine.machine(), "versions": machine.versions(self.args.ringway),
            "rounds": self.args.rounds, "seconds": self.args.seconds,
            "results": self.results, "skipped": self.skipped,
            "verdicts": summary.verdicts(self.results) + self.events, "rounds_seen": self.rounds,
        }


def main():
    args = arguments()
    bench = Bench(args)
    failure = None
    try:
        bench.run()
    except Failed as failed:
        failure = failed
    run = bench.report()
    print("\n## Promises\n")
    for promise, measured, holds in run["verdicts"]:
        print(f"{'holds ' if holds else 'BROKEN'}  {promise}: {measured}")
    if failure:
        sys.exit(f"\nstopped: {failure}")
    if not args.no_save:
        print(f"\nwritten: {summary.save(run, ROOT / 'bench/results').relative_to(ROOT)} and .json beside it")
    if args.asserts and not all(holds for _, _, holds in run["verdicts"]):
        sys.exit(1)


if __name__ == "__main__":
    main()
