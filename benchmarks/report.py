"""Renders a result file to Markdown.

python benchmarks/report.py benchmarks/results/X.json            prints it
python benchmarks/report.py benchmarks/results/X.json --write    puts it into benchmarks/README.md
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
CEILING = "*bare hyper: read the body, answer*"
INSIDE: dict[str, Callable[[dict[str, float]], float]] = {
    "decode": lambda us: us["decode"],
    "queue, the handover to the model's thread included": lambda us: us["queue"],
    "encode": lambda us: us["encode"],
    "**these three**, with one connection the server's own work": lambda us: (
        us["decode"] + us["queue"] + us["encode"]
    ),
    "predict": lambda us: us["predict"],
    "all of a request without predict, the body's way and the wake-up after it included": lambda us: (
        us["request"] - us["predict"]
    ),
}
PROTOCOLS = {"rest": "REST", "rest-binary": "REST binary", "grpc": "gRPC raw"}
# What a reader must know about a figure, and from when on.
BUSY, LATE_MS, SPREAD, SAMPLES, LOADED, ROUNDS = 0.9, 1.0, 0.15, 500, 0.5, 3

Json = dict[str, Any]
Column = tuple[str, int, float | None]


def render(results: Json) -> str:
    """The whole report."""
    titles = {name: c["title"] for name, c in results["contenders"].items()}
    base = baseline(list(titles))
    parts = [about(results, titles[base])]
    if "failed" in results:
        parts.insert(0, f"**This run failed**: {results['failed']}\n")
    for name, workload in results["workloads"].items():
        parts.append(f"### {name}: {workload['title']}\n")
        ceiling = results["ceiling"].get(name, [])
        parts.append(closed(workload["contenders"], titles, base, ceiling))
        parts.append(processor(workload["contenders"], titles, ceiling))
        stages = inside(workload["contenders"], titles)
        if stages:
            parts.append(stages)
        opened = open_loop(workload, titles)
        if opened:
            parts.append(opened)
        parts.append(starts(workload["contenders"], titles, base))
    parts.append(caveats(results, titles))
    return "\n".join(parts)


def baseline(names: list[str]) -> str:
    """KServe at its best, or else the first contender."""
    return next((n for n in ("kserve-quiet", "kserve-default") if n in names), names[0])


def about(results: Json, base: str) -> str:
    """Machine, settings, versions."""
    machine, settings = results["machine"], results["settings"]
    variables = ", ".join(f"{k}={v}" for k, v in machine["environment"].items())
    dirty = f" and {machine['changed_files']} changed files" if machine["changed_files"] else ""
    run = (
        f"{machine['date']}, commit {machine['commit']}{dirty}. {machine['cpu']}, "
        f"{machine['cores']} cores, Linux {machine['kernel']}, Python {machine['python']}. "
        f"Server on one core, load on another; {settings['rounds']} interleaved rounds of "
        f"{settings['seconds']:g} s a figure after {settings['warmup']:g} s of warm-up, medians. "
        f"All with {variables}. Ratios (x) are to {base}.\n"
    )
    lines = [run, "| contender | versions |\n| --- | --- |"]
    for contender in results["contenders"].values():
        versions = ", ".join(f"{name} {v}" for name, v in contender["versions"].items())
        lines.append(f"| {contender['title']} | {versions} |")
    return "\n".join(lines) + "\n"


def closed(contenders: Json, titles: dict[str, str], base: str, ceiling: list[Json]) -> str:
    """Closed loop: rate, ratio and p50, a column a shot."""
    columns = {key(s): s for c in contenders.values() for s in c["shots"] if s["rate"] is None}
    heads = [f"{PROTOCOLS[s['protocol']]}, {s['connections']}" for s in columns.values()]
    rows = []
    for name, contender in contenders.items():
        row = []
        for column in columns:
            rate = rates(contender["shots"], column)
            reference = rates(contenders.get(base, {"shots": []})["shots"], column)
            row.append(cell(rate, reference, median(contender["shots"], column, p50_ms)))
        rows.append([titles[name], *row])
    if ceiling:
        cells = [cell(rates(ceiling, c), None, median(ceiling, c, p50_ms)) for c in columns]
        rows.append([CEILING, *cells])
    text = "Closed loop, requests/s (ratio) · p50 ms, by number of requests at once:\n"
    return f"{text}\n{table(['contender', *heads], rows)}"


def processor(contenders: Json, titles: dict[str, str], ceiling: list[Json]) -> str:
    """Closed loop: the server's processor time a request, which a busy machine disturbs least."""
    named = [(titles[name], contender["shots"]) for name, contender in contenders.items()]
    if ceiling:
        named.append((CEILING, ceiling))
    columns = {key(s): s for _, shots in named for s in shots if s["rate"] is None}
    heads = [f"{PROTOCOLS[s['protocol']]}, {s['connections']}" for s in columns.values()]
    rows = []
    for title, shots in named:
        row = [title]
        for column in columns:
            seen = [s["server_cpu_us_per_request"] for s in shots if key(s) == column]
            row.append(number(statistics.median(seen) if seen else None))
        rows.append(row)
    text = "The same loop, processor time of the server's processes a request, microseconds:\n"
    return f"{text}\n{table(['contender', *heads], rows)}"


def inside(contenders: Json, titles: dict[str, str]) -> str:
    """Closed loop: where the time of a request goes, by the server's own histograms."""
    tables = []
    for name, contender in contenders.items():
        shots = [s for s in contender["shots"] if s["rate"] is None and s.get("stages_us")]
        columns = {key(s): s for s in shots}
        if not columns:
            continue
        rows = []
        for label, figure in INSIDE.items():
            figures = [[figure(s["stages_us"]) for s in shots if key(s) == column] for column in columns]
            rows.append([label, *(number(statistics.median(of)) for of in figures)])
        heads = [f"{PROTOCOLS[s['protocol']]}, {s['connections']}" for s in columns.values()]
        text = f"{titles[name]}'s own histograms in the same loop, microseconds a request:\n"
        tables.append(f"{text}\n{table(['stage', *heads], rows)}")
    return "\n".join(tables)


def open_loop(workload: Json, titles: dict[str, str]) -> str:
    """Open loop: p50 and p99 at shares of the contender's own capacity and of the lowest."""
    capacities, shares = workload.get("capacities"), workload.get("shares")
    if not capacities or not shares:
        return ""
    lowest = min(capacities.values())
    rows = []
    for name, contender in workload["contenders"].items():
        row = [titles[name]]
        for rate in [capacity * s for capacity in (capacities[name], lowest) for s in shares]:
            shots = [s for s in contender["shots"] if s["rate"] == rate]
            p50, p99 = (median(shots, None, figure) for figure in (p50_ms, p99_ms))
            row.append(f"{number(rate)}/s: {number(p50)} · {number(p99)}")
        rows.append(row)
    heads = [f"{s:.0%} of {whose}" for whose in ("its own", "the lowest") for s in shares]
    text = (
        "Open loop, Poisson arrivals at shares of each contender's own capacity (above) and of the "
        f"lowest of all ({number(lowest)}/s): p50 · p99 ms from when a request was due:\n"
    )
    return f"{text}\n{table(['contender', *heads], rows)}"


def starts(contenders: Json, titles: dict[str, str], base: str) -> str:
    """Start-up and idle memory."""
    rows = []
    for name, contender in contenders.items():
        row = [titles[name]]
        for field, digits in (("first_answer_s", 2), ("rss", 0), ("pss", 0)):
            seen = statistics.median(s[field] for s in contender["starts"])
            reference = contenders.get(base, contender)["starts"]
            ratio = seen / max(1e-9, statistics.median(s[field] for s in reference))
            row.append(f"{seen:.{digits}f} ({ratio:.2f}x)")
        rows.append(row)
    head = ["contender", "start to first right answer, s", "idle RSS, MB", "idle PSS, MB"]
    return table(head, rows)


def caveats(results: Json, titles: dict[str, str]) -> str:
    """What limits these figures, found in them: a line a reason, with the figures it touches."""
    notes = []
    load = results["machine"]["load_average_at_start"]
    if load > LOADED:
        notes.append(f"The machine was busy when the run began (load average {load:.1f}).")
    if results["settings"]["rounds"] < ROUNDS:
        notes.append("Fewer than three rounds: a median says little.")
    touched: dict[str, list[str]] = {}
    for name, workload in results["workloads"].items():
        for contender, seen in workload["contenders"].items():
            who = f"{name}, {titles[contender]}"
            notes += [f"{who}: no {PROTOCOLS[p]}: {why}." for p, why in seen["skipped"].items()]
            for column in dict.fromkeys(key(s) for s in seen["shots"]):
                protocol, connections, rate = column
                how = f"{number(rate)}/s" if rate else f"{connections} at once"
                for doubt in doubts([s for s in seen["shots"] if key(s) == column]):
                    touched.setdefault(doubt, []).append(f"{who}, {PROTOCOLS[protocol]}, {how}")
    notes += [f"{doubt}: {'; '.join(figures)}." for doubt, figures in touched.items()]
    return "Caveats:\n\n" + "\n".join(f"- {n}" for n in notes or ["None found."]) + "\n"


def doubts(shots: list[Json]) -> Iterable[str]:
    """Reasons to doubt one figure."""
    reports = [s["report"] for s in shots]
    kinds = sorted({kind for r in reports for kind in r["errors_by_kind"]})
    if kinds:
        yield f"**Errors** ({', '.join(kinds)})"
    if shots[0]["rate"] is None:
        if max(r["generator_busy"] for r in reports) > BUSY:
            yield "The load generator's core was full; the server may reach more"
        seen = [r["requests_per_s"] for r in reports]
        if max(seen) - min(seen) > SPREAD * statistics.median(seen):
            yield f"Rounds differ by more than {SPREAD:.0%}"
        return
    if statistics.median(r["sent_late_us"]["p99"] for r in reports) / 1000 > LATE_MS:
        yield f"1% of requests left more than {LATE_MS:g} ms late (which counts as latency)"
    if min(r["requests"] for r in reports) < SAMPLES:
        yield f"p99 rests on fewer than {SAMPLES} requests a round"


def key(shot: Json) -> Column:
    """What makes two shots the same measurement."""
    return shot["protocol"], shot["connections"], shot["rate"]


def p50_ms(report: Json) -> float:
    """Median latency."""
    return report["latency_us"]["p50"] / 1000


def p99_ms(report: Json) -> float:
    """Latency that one in a hundred exceeds."""
    return report["latency_us"]["p99"] / 1000


def rates(shots: list[Json], column: Column | None) -> float | None:
    """Median requests a second."""
    return median(shots, column, lambda report: report["requests_per_s"])


def median(shots: list[Json], column: Column | None, figure: Callable[[Json], float]) -> float | None:
    """Over the rounds of one column (or of all), if there are any."""
    seen = [figure(s["report"]) for s in shots if column is None or key(s) == column]
    return statistics.median(seen) if seen else None


def cell(rate: float | None, reference: float | None, p50: float | None) -> str:
    """Rate, ratio, p50."""
    if rate is None or p50 is None:
        return "-"
    ratio = f" ({number(rate / reference)}x)" if reference else ""
    return f"{number(rate)}{ratio} · {number(p50)}"


def number(value: float | None) -> str:
    """As many digits as mean something."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(r) + " |" for r in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"


def write(text: str) -> None:
    """Replaces what is between README.md's markers."""
    page = README.read_text()
    before, found, rest = page.partition(BEGIN)
    _, also_found, after = rest.partition(END)
    if not found or not also_found:
        raise SystemExit(f"error: {README} has no {BEGIN} … {END}")
    README.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Renders benchmark results to Markdown.")
    parser.add_argument("results", type=Path)
    parser.add_argument("--write", action="store_true", help="into benchmarks/README.md")
    options = parser.parse_args()
    text = render(json.loads(options.results.read_text()))
    if options.write:
        write(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
