"""Tables, for the terminal and for ``docs/performance.md``."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.growth import PARTS, SEARCHES
from benchmarks.scenarios import HEALTH_BAR, P99_BAR, Scenario

Row = dict[str, Any]
Verdict = tuple[bool, str]
"""Whether a bar is met, and a line that says so."""

BEGIN = "<!-- results: written by `make bench` -->"
END = "<!-- end of results -->"

FLAT = 1.3
"""How much slower a look-up may be in the largest database than in the smallest."""
CLIENT = 0.5
"""The part of the time for which the client may run or want to run, or the row is marked."""
CLIENT_NOTE = (
    "Bold: the client ran, or was ready to run, for more than half of the time; "
    "the site may be faster than it looks here."
)


AT_REST = ("idle", "after")
PEAK = 200 * 2**20
"""The most bytes of memory while large submissions arrive, however many."""
BESIDE_LARGE = 1.5
"""How much longer small submissions may take while large ones arrive, as a factor."""
STUCK = 60 * 2**20
"""The most bytes more while hundreds of clients do not go on."""


UNCHANGED = 0.01
"""The most bytes of submissions of unchanged data, as a part of the compatible protocol's."""
LIST_REQUESTS = 2
"""The most requests of one ``nbgrader list``."""
PLUGINS = {"ours": "this plugin", "older": "`ngshare_exchange` 0.5.2"}


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def comparison(rows: dict[str, Row], beside: Sequence[str] = ("peer", "bare")) -> str:
    """One scenario: a line for each site, and one for each ratio to the sites ``beside``."""
    head = (
        *("", "requests/s (lowest-highest)", "p50", "p99", "CPU/request", "peak memory"),
        *("disk/request", "`/healthz` p99", "client ran + waited"),
    )
    lines = [
        [
            name,
            f"{_count(row['rate'])} ({_count(row['lowest'])}-{_count(row['highest'])})",
            seconds(row["p50"]),
            seconds(row["p99"]),
            seconds(row["cpu"]),
            size(row["memory"]),
            f"{row['disk'] / 1000:,.1f} kB",
            seconds(row["health"]),
            _client(row),
        ]
        for name, row in rows.items()
    ]
    lines += [
        [
            f"{name} / {other}",
            *(_ratio(row[what], rows[other][what]) for what in ("rate", "p50", "p99", "cpu")),
            *(_ratio(row[what], rows[other][what]) for what in ("memory", "disk", "health")),
            "",
        ]
        for name, row in rows.items()
        if name not in beside
        for other in beside
        if other in rows
    ]
    marked = any(_limited_by_client(row) for row in rows.values())
    return grid(head, lines) + (f"\n\n{CLIENT_NOTE}" if marked else "")


def at_rest(rows: dict[str, dict[str, float]]) -> str:
    """Memory of each site before anything happened, and after."""
    lines = [[name, size(row["idle"]), size(row["after"])] for name, row in rows.items()]
    lines += [
        [f"ngshare / {other}", *(_ratio(rows["ngshare"][at], rows[other][at]) for at in AT_REST)]
        for other in ("peer", "bare")
        if other in rows and "ngshare" in rows
    ]
    return grid(("", *AT_REST), lines)


def _limited_by_client(row: Row) -> bool:
    return bool(row["client_used"] + row["client_waited"] > CLIENT)


def _client(row: Row) -> str:
    text = f"{row['client_used']:.0%} + {row['client_waited']:.0%}"
    return f"**{text}**" if _limited_by_client(row) else text


def _ratio(value: float, other: float) -> str:
    """How many times the other; nothing where both are next to nothing, as bytes of a read."""
    if min(value, other) <= 0 or max(value, other) < 1e-6:
        return ""
    ratio = value / other
    if ratio >= 10:
        return f"{ratio:,.0f}x"
    return f"{ratio:.2f}x" if ratio >= 0.1 else f"{ratio:.1g}x"


def verdicts(scenario: Scenario, rows: dict[str, Row]) -> list[Verdict]:
    """Each bar of a scenario, and whether it is met."""
    ours, peer, bare = (rows.get(name) for name in ("ngshare", "peer", "bare"))
    found = []
    if ours and peer:
        ratio = ours["rate"] / peer["rate"]
        if scenario.bar is None:
            found.append((True, f"{ratio:.1f}x the peer (no bar)"))
        else:
            bar = f"≥ {scenario.bar}x"
            found.append(verdict(ratio >= scenario.bar, f"{ratio:.1f}x the peer", bar))
        part = ours["p99"] / peer["p99"]
        found.append(verdict(part <= P99_BAR, f"p99 {part:.2f} of the peer's", f"≤ {P99_BAR}"))
    if ours and bare:
        ratio = ours["rate"] / bare["rate"]
        bar = f"≥ {scenario.bare_bar}x"
        found.append(verdict(ratio >= scenario.bare_bar, f"{ratio:.2f}x the bare handler", bar))
    if ours:
        found.append(health_verdict(ours["health"]))
    return found


def health_verdict(health: float, what: str = "") -> Verdict:
    """The bar of the questions about health; ``what`` went on meanwhile."""
    text = f"{what}: ".lstrip(": ") + f"`/healthz` p99 {seconds(health)}"
    return verdict(health <= HEALTH_BAR, text, f"≤ {seconds(HEALTH_BAR)}")


def verdict(met: bool, text: str, bar: str) -> Verdict:
    """A bar, and whether it is met."""
    return met, f"{text} (bar {bar}): {'met' if met else '**missed**'}"


def listing(found: Sequence[Verdict]) -> str:
    """The bars of one part."""
    return "\n".join(f"- {line}" for _, line in found)


def growth(sizes: dict[str, Row]) -> tuple[str, list[Verdict]]:
    """Each read, by the number of submissions in the database."""
    counts = list(sizes)
    rows = []
    found = []
    for name in sizes[counts[0]]["reads"]:
        taken = [sizes[count]["reads"][name] for count in counts]
        # What looks through a bounded number of entries is flat from there on.
        base = -2 if name in SEARCHES else 0
        ratio = taken[-1] / taken[base]
        rows.append([name, *map(seconds, taken), f"{ratio:.2f}"])
        since = f" since {int(counts[base]):,}" if base else ""
        found.append(verdict(ratio <= FLAT, f"{name} {ratio:.2f}x{since}", f"≤ {FLAT}x"))
    health = [sizes[count]["health"] for count in counts]
    rows.append(["`/healthz` p99 meanwhile", *map(seconds, health), ""])
    found.append(health_verdict(max(health), "the slowest of these"))
    head = ["one at a time, median", *(f"{int(count):,}" for count in counts), "last / first"]
    return grid(head, rows), found


def long_lists(lengths: dict[str, Row]) -> tuple[str, list[Verdict]]:
    """Each list by its length, what one entry more costs, and parts of the lists."""
    counts = list(lengths)
    numbers = [int(count) for count in counts]
    rows = []
    found = []
    for name in lengths[counts[0]]["reads"]:
        taken = [lengths[count]["reads"][name] for count in counts]
        if name in PARTS:
            ratio = taken[-1] / taken[0]
            rows.append([name, *map(seconds, taken), "", ""])
            found.append(verdict(ratio <= FLAT, f"{name} {ratio:.2f}x", f"≤ {FLAT}x"))
            continue
        each = [
            (taken[at + 1] - taken[at]) / (numbers[at + 1] - numbers[at])
            for at in range(len(taken) - 1)
        ]
        rows.append([name, *map(seconds, taken), *(f"{one * 1e6:,.1f} µs" for one in each)])
        ratio = each[-1] / each[0]
        text = f"{name}: an entry of a long list costs {ratio:.2f}x one of a shorter"
        found.append(verdict(ratio <= FLAT, text, f"≤ {FLAT}x"))
    health = [lengths[count]["health"] for count in counts]
    rows.append(["`/healthz` p99 meanwhile", *map(seconds, health), "", ""])
    found.append(health_verdict(max(health), "the slowest of these"))
    head = [
        *("one at a time, median", *(f"{number:,} entries" for number in numbers)),
        *(f"each entry from {one:,} to {other:,}" for one, other in pairwise(numbers)),
    ]
    return grid(head, rows), found


def uploads(rows: Sequence[Row], stuck: Row, small: Row) -> tuple[str, list[Verdict]]:
    """Memory while large submissions arrive at once or clients are stuck; small ones meanwhile."""
    head = (
        *("at once", "stored", "answered 503 and sent again", "cut off", "seconds"),
        *("idle", "after", "peak", "`/healthz` p99"),
    )
    text = grid(
        head,
        [
            [
                f"{row['count']} of {row['files']} x {row['size'] / 1e6:.0f} MB",
                *(str(row[name]) for name in ("stored", "refused", "cut")),
                f"{row['seconds']:.1f}",
                *(size(row[name]) for name in ("idle", "after", "peak")),
                seconds(row["health"]),
            ]
            for row in rows
        ],
    )
    found = []
    for row in rows:
        said = f"{row['count']} of {row['files']} x {row['size'] / 1e6:.0f} MB"
        found.append(health_verdict(row["health"], said))
        found.append(
            verdict(row["peak"] <= PEAK, f"{said}: peak {size(row['peak'])}", f"≤ {size(PEAK)}")
        )
    above = stuck["peak"] - stuck["idle"]
    said = f"{stuck['clients']:.0f} clients that do not read, or send a byte a second"
    found.append(verdict(above <= STUCK, f"{said}: {size(above)} more", f"≤ {size(STUCK)}"))
    ratio = small["beside"] / small["alone"]
    said = (
        f"p99 of small submissions beside large ones {seconds(small['beside'])}, "
        f"alone {seconds(small['alone'])}: {ratio:.2f}x"
    )
    found.append(verdict(ratio <= BESIDE_LARGE, said, f"≤ {BESIDE_LARGE}x"))
    return text, found


def unchanged(students: int, counted: dict[str, Row]) -> tuple[str, list[Verdict]]:
    """Bytes of all submissions; those of the compatible protocol are counted once and multiplied.

    counted: the bytes sent and stored for all submissions without the data, ``changed``, and for
    one with the data, ``whole, ours`` and ``whole, peer``. ngshare stores the data once, so only
    the peer shows what the compatible protocol stores.
    """
    changed = counted["changed"]
    rows = [["only what changed", *(megabytes(changed[what]) for what in ("sent", "stored"))]]
    found = []
    for name, one in counted.items():
        if not name.startswith("whole"):
            continue
        every = {what: one[what] * students for what in ("sent", "stored")}
        stored = megabytes(every["stored"]) if name == "whole, peer" else "the same"
        rows.append([name, megabytes(every["sent"]), stored])
        for what in ("sent", "stored"):
            if name == "whole, peer" or what == "sent":
                part = changed[what] / every[what]
                said = f"{what}: {part:.3%} of the compatible protocol's ({name})"
                found.append(verdict(part <= UNCHANGED, said, f"≤ {UNCHANGED:.0%}"))
    return grid(("all submissions", "sent", "stored"), rows), found


def plugins(rows: dict[str, dict[str, Row]], students: int) -> tuple[str, list[Verdict]]:
    """Each command of nbgrader with each plugin: its requests, its time, and what it showed.

    students: how many have submitted, and are collected.
    """
    lines = [
        [
            f"`nbgrader {command}`, {PLUGINS[name]}",
            f"{row['requests']:,}",
            seconds(row["seconds"]),
            f"{row['shown']:,}",
        ]
        for name, commands in rows.items()
        for command, row in commands.items()
    ]
    ours = rows["ours"]
    said = f"`nbgrader list` sends {ours['list']['requests']} requests"
    found = [verdict(ours["list"]["requests"] <= LIST_REQUESTS, said, f"≤ {LIST_REQUESTS}")]
    complete = ours["collect"]["shown"] == students
    found.append(verdict(complete, f"collected: {ours['collect']['shown']}", f"{students}"))
    if "older" in rows:
        for command in ("list", "collect"):
            row = ours[command]
            older = rows["older"][command]
            text = (
                f"`nbgrader {command}` takes {row['seconds'] / older['seconds']:.2f} of the time "
                f"and {row['requests']:,} requests instead of {older['requests']:,} (no bar)"
            )
            found.append((True, text))
    head = ("command", "requests", "time", "assignments or submissions")
    return grid(head, lines), found


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


def megabytes(value: float) -> str:
    """An amount of bytes sent or stored, for people."""
    return f"{value / 1e6:,.1f} MB"


def _count(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
