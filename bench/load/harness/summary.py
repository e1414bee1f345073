"""From rounds to numbers: quartiles, ratios, verdicts, and the two files of a run.

Machines change speed under us, for seconds at a time. So rounds of the rivals are interleaved, CPU
per request is the lower quartile of the rounds (the machine at its best, the same for all), and the
spread is shown beside it.
"""

import json
from statistics import median

from . import scenarios


def quantile(values, q):
    """Linear between ranks, as most tools do."""
    values = sorted(values)
    place = (len(values) - 1) * q
    low = int(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (place - low)


def of_rounds(rounds):
    """One proxy's rounds in one scenario."""
    cost = [r["cpu_ns"] / 1000 / r["requests"] for r in rounds if r["requests"]]
    if not cost:
        return {"requests_per_s": 0, "errors": sum(r["errors"] for r in rounds), "rounds": len(rounds)}
    user = sum(r["user_ticks"] for r in rounds)
    ticks = user + sum(r["system_ticks"] for r in rounds)
    names = [name for name in ("p50", "p99", "p999") if all(name in r["latency_us"] for r in rounds)]
    best = quantile(cost, 0.25)
    return {
        "requests_per_s": median(r["requests"] / r["seconds"] for r in rounds),
        "cpu_us": best,
        "cpu_us_median": median(cost),
        "cpu_us_spread": [min(cost), max(cost)],
        "user_us": best * user / ticks if ticks else None,
        "busy": median(r["cpu_ns"] / 1e9 / r["seconds"] for r in rounds),
        "latency_us": {name: median(r["latency_us"][name] for r in rounds) for name in names},
        "errors": sum(r["errors"] for r in rounds),
        "requests": sum(r["requests"] for r in rounds),
        "rounds": len(rounds),
    }


def ratio(results, scenario, rival, key="cpu_us", ours="ringway"):
    mine = results.get(scenario, {}).get(ours, {}).get(key)
    theirs = results.get(scenario, {}).get(rival, {}).get(key)
    return mine / theirs if mine and theirs else None


def verdicts(results):
    """What Ringway promises, held against this run: [(promise, measured, whether it holds)]."""
    out = []
    for scenario in scenarios.SCENARIOS:
        for rival, most in scenario.cpu_max.items():
            value = ratio(results, scenario.name, rival)
            if value is not None:
                out.append((f"{scenario.name}: CPU ≤ {most} × {rival}", f"{value:.3f}", value <= most))
        for other, most in scenario.own_max.items():
            mine, base = (results.get(name, {}).get("ringway", {}).get("cpu_us") for name in (scenario.name, other))
            if mine and base:
                out.append((f"{scenario.name}: CPU ≤ {most} × our own {other}", f"{mine / base:.3f}", mine <= most * base))
        user = results.get(scenario.name, {}).get("ringway", {}).get("user_us")
        if scenario.user_us_max and user:
            out.append((f"{scenario.name}: user space ≤ {scenario.user_us_max} µs", f"{user:.2f}", user <= scenario.user_us_max))
    rate = results.get(scenarios.RATE, {})
    for name in ("p99", "p999"):
        mine, theirs = (rate.get(proxy, {}).get("latency_us", {}).get(name) for proxy in ("ringway", "haproxy"))
        if mine and theirs:
            out.append((f"rate: {name} no worse than haproxy's", f"{mine:.0f} against {theirs:.0f} µs", mine <= theirs))
    for name, idle in scenarios.IDLES.items():
        weight = {proxy: seen["bytes_per_connection"] for proxy, seen in results.get(name, {}).items()}
        mine = weight.get("ringway")
        if mine is not None and idle.bytes_max:
            out.append((f"{name}: ≤ {idle.bytes_max} bytes", f"{mine:.0f}", mine <= idle.bytes_max))
        for rival in idle.no_more_than:
            if mine is not None and rival in weight:
                out.append((f"{name}: no more than {rival}'s", f"{mine:.0f} against {weight[rival]:.0f} bytes", mine <= weight[rival]))
    errors = sum(r.get("errors", 0) for s in results.values() for p, r in s.items() if p.startswith("ringway"))
    out.append(("no failed request", str(errors), errors == 0))
    return out


def row(cells):
    return "| " + " | ".join(cells) + " |"


def table(results, name):
    """One scenario as a table, a line a proxy."""
    rows = results[name]
    if name in scenarios.IDLES:
        head = ["proxy", "bytes a connection"]
        body = [[proxy, f"{r['bytes_per_connection']:.0f}"] for proxy, r in rows.items()]
    else:
        head = ["proxy", "requests/s", "CPU µs", "min–max", "user µs", "busy", "× nginx", "× haproxy", "p50 µs", "p99", "p99.9", "errors"]
        body = [line(results, name, proxy, r) for proxy, r in rows.items()]
    return "\n".join(row(cells) for cells in [head, ["---"] * len(head), *body])


def line(results, name, proxy, r):
    if not r.get("cpu_us"):
        return [proxy, "0"] + ["–"] * 9 + [str(r["errors"])]
    number = lambda value, digits=2: "–" if value is None else f"{value:.{digits}f}"
    low, high = r["cpu_us_spread"]
    ratios = [number(ratio(results, name, rival, ours=proxy)) for rival in scenarios.RIVALS]
    latency = [number(r["latency_us"].get(q), 0) for q in ("p50", "p99", "p999")]
    return [
        proxy, f"{r['requests_per_s']:.0f}", number(r["cpu_us"]), f"{low:.2f}–{high:.2f}", number(r["user_us"]),
        f"{100 * r['busy']:.0f} %", *ratios, *latency, str(r["errors"]),
    ]


def markdown(run):
    results = run["results"]
    machine = run["machine"]
    where = f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}"
    where += ", virtual" if machine["virtual"] else ""
    programs = ", ".join(f"{name} {version}" for name, version in run["versions"].items() if version)
    out = [
        f"# Load bench, {run['when']}", "",
        f"{where}; TCP {machine['congestion_control']}; {'a network namespace of its own' if machine['own_namespace'] else 'the machine’s loopback'}.",
        f"{programs}.", f"{run['rounds']} interleaved rounds of {run['seconds']} s; command: `{run['command']}`.", "",
        "CPU µs: of all the proxy's threads for each request, lower quartile of the rounds. "
        "Latency: median of the rounds' quantiles.", "",
    ]
    for name in results:
        out += [f"## {name}", "", scenarios.WHAT[name] + ".", "", table(results, name), ""]
    if run.get("skipped"):
        out += ["## Skipped", ""] + [f"- {name}: {why}" for name, why in run["skipped"].items()] + [""]
    out += ["## Promises", "", row(["promise", "measured", "holds"]), row(["---"] * 3)]
    out += [row([promise, measured, "yes" if holds else "**no**"]) for promise, measured, holds in run["verdicts"]]
    return "\n".join(out) + "\n"


def save(run, folder):
    folder.mkdir(parents=True, exist_ok=True)
    stem = run["when"].replace(":", "").replace(" ", "-")
    (folder / f"{stem}.json").write_text(json.dumps(run, indent=1, ensure_ascii=False) + "\n")
    (folder / f"{stem}.md").write_text(markdown(run))
    return folder / f"{stem}.md"
