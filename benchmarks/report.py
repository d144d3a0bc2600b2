"""Tables, for the terminal and for ``docs/performance.md``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.scenarios import HEALTH_BAR, P99_BAR, Scenario

Row = dict[str, Any]
Verdict = tuple[bool, str]
"""Whether a bar is met, and a line that says so."""

BEGIN = "<!-- results: written by `make bench` -->"
END = "<!-- end of results -->"

FLAT = 1.3
"""How much slower a look-up may be in the largest database than in the smallest."""


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def comparison(rows: dict[str, Row]) -> str:
    """One scenario: a line for each site."""
    head = (
        *("", "requests/s (lowest-highest)", "p50", "p99", "CPU/request", "peak memory"),
        *("disk/request", "client's core", "`/healthz` p99"),
    )
    return grid(
        head,
        [
            [
                name,
                f"{_count(row['rate'])} ({_count(row['lowest'])}-{_count(row['highest'])})",
                seconds(row["p50"]),
                seconds(row["p99"]),
                seconds(row["cpu"]),
                size(row["memory"]),
                f"{row['disk'] / 1000:,.1f} kB",
                f"{row['client']:.0%}",
                seconds(row["health"]),
            ]
            for name, row in rows.items()
        ],
    )


def verdicts(scenario: Scenario, rows: dict[str, Row]) -> list[Verdict]:
    """Each bar of a scenario, and whether it is met."""
    ours, peer, bare = (rows.get(name) for name in ("ngshare", "peer", "bare"))
    found = []
    if ours and peer:
        ratio = ours["rate"] / peer["rate"]
        found.append(verdict(ratio >= scenario.bar, f"{ratio:.1f}x the peer", f"≥ {scenario.bar}x"))
        part = ours["p99"] / peer["p99"]
        found.append(verdict(part <= P99_BAR, f"p99 {part:.2f} of the peer's", f"≤ {P99_BAR}"))
    if ours and bare:
        ratio = ours["rate"] / bare["rate"]
        bar = scenario.bare_bar
        found.append(verdict(ratio >= bar, f"{ratio:.2f}x the bare handler", f"≥ {bar}x"))
    if ours:
        found.append(health_verdict(ours["health"]))
    return found


def health_verdict(health: float) -> Verdict:
    """The bar of the questions about health."""
    text = f"`/healthz` p99 {seconds(health)}"
    return verdict(health <= HEALTH_BAR, text, f"≤ {seconds(HEALTH_BAR)}")


def verdict(met: bool, text: str, bar: str) -> Verdict:
    """A bar, and whether it is met."""
    return met, f"{text} (bar {bar}): {'met' if met else '**missed**'}"


def listing(found: Sequence[Verdict]) -> str:
    """The bars of one part."""
    return "\n".join(f"- {line}" for _, line in found)


def growth(sizes: dict[str, dict[str, float]]) -> tuple[str, list[Verdict]]:
    """Each read, by the number of submissions in the database."""
    counts = list(sizes)
    first, last = sizes[counts[0]], sizes[counts[-1]]
    rows = []
    found = []
    for name in first:
        ratio = last[name] / first[name]
        rows.append([name, *(seconds(sizes[count][name]) for count in counts), f"{ratio:.2f}"])
        found.append(verdict(ratio <= FLAT, f"{name} {ratio:.2f}x", f"≤ {FLAT}x"))
    head = ["one at a time, median", *(f"{int(count):,}" for count in counts), "last / first"]
    return grid(head, rows), found


def long_lists(lists: dict[str, dict[str, float]]) -> str:
    """What an entry of a long list costs, and a part from its middle."""
    head = ["submissions in the list", "median", "per entry", "100 from its middle"]
    rows = []
    for count, medians in lists.items():
        each = f"{medians['whole'] / int(count) * 1e6:,.1f} µs"
        rows.append([f"{int(count):,}", seconds(medians["whole"]), each, seconds(medians["part"])])
    return grid(head, rows)


def uploads(rows: dict[str, Row]) -> str:
    """Memory while large submissions arrive at once."""
    head = (
        *("at once", "stored", "answered 503 and sent again", "cut off", "seconds"),
        *("memory before", "peak", "after", "`/healthz` p99"),
    )
    return grid(
        head,
        [
            [
                f"{row['count']} of {row['size'] / 1e6:.0f} MB",
                *(str(row[name]) for name in ("stored", "refused", "cut")),
                f"{row['seconds']:.1f}",
                *(size(row[name]) for name in ("before", "peak", "after")),
                seconds(row["health"]),
            ]
            for row in rows.values()
        ],
    )


def bounded(rows: dict[str, Row]) -> list[Verdict]:
    """Whether four times as many clients take about the same memory."""
    if len(rows) < 2:
        return []
    first, *_, last = rows.values()
    ratio = last["peak"] / first["peak"]
    text = f"{ratio:.2f}x the peak for {last['count'] / first['count']:.0f}x the clients"
    return [verdict(ratio <= FLAT, text, f"≤ {FLAT}x")]


def summary(machine: dict[str, Any], options: str) -> str:
    """When, where and how."""
    return (
        f"{machine['date']}, commit {machine['commit']}, `{options}`. {machine['processor']}, "
        f"{machine['cores']} cores, {size(machine['memory'])}, Linux {machine['kernel']}, "
        f"{machine['filesystem']}; Python {machine['python']}, Tornado {machine['tornado']}, "
        f"SQLAlchemy {machine['sqlalchemy']}; load average before: {machine['load']:.1f}."
    )


def publish(text: str, path: Path) -> None:
    """Put the results between their marks in the documentation."""
    page = path.read_text("utf8")
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has lost the marks of the results")
    path.write_text(f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}", "utf8")


def seconds(value: float) -> str:
    """A time, for people."""
    if value >= 10:
        return f"{value:,.1f} s"
    milliseconds = value * 1000
    return f"{milliseconds:,.{0 if milliseconds >= 100 else 1 if milliseconds >= 10 else 2}f} ms"


def size(value: float) -> str:
    """An amount of memory, for people."""
    return f"{value / 2**20:,.0f} MiB"


def _count(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
