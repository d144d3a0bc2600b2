"""Tables, for the terminal and for ``docs/performance.md``."""

from __future__ import annotations

from typing import Any

from benchmarks.scenarios import HEALTH_BAR, P99_BAR, Scenario

Row = dict[str, Any]


def table(scenario: Scenario, rows: dict[str, Row]) -> str:
    """One scenario: a line for each site, and what was reached."""
    lines = [
        f"### {scenario.title}",
        "",
        "| | requests/s | p50 | p99 | CPU/request | peak memory | disk/request | client's core "
        "| health p99 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in rows.items():
        lines.append(
            f"| {name} | {row['rate']:,.0f} ({row['lowest']:,.0f}-{row['highest']:,.0f}) "
            f"| {_ms(row['p50'])} | {_ms(row['p99'])} | {_ms(row['cpu'])} "
            f"| {row['memory'] / 2**20:,.0f} MB | {row['disk'] / 1000:,.1f} kB "
            f"| {row['client']:.0%} | {_ms(row['health'])} |"
        )
    return "\n".join([*lines, "", *(f"- {line}" for _, line in verdicts(scenario, rows)), ""])


def verdicts(scenario: Scenario, rows: dict[str, Row]) -> list[tuple[bool, str]]:
    """Each bar, and whether it is met."""
    ours, peer, bare = (rows.get(name) for name in ("ngshare", "peer", "bare"))
    found = []
    if ours and peer:
        ratio = ours["rate"] / peer["rate"]
        found.append(_verdict(ratio >= scenario.bar, f"{ratio:.1f}x the peer", scenario.bar, "≥"))
        part = ours["p99"] / peer["p99"]
        found.append(_verdict(part <= P99_BAR, f"p99 {part:.2f} of the peer's", P99_BAR, "≤"))
    if ours and bare:
        ratio = ours["rate"] / bare["rate"]
        bar = scenario.bare_bar
        found.append(_verdict(ratio >= bar, f"{ratio:.2f}x the bare handler", bar, "≥"))
    if ours:
        health = ours["health"]
        text = f"health p99 {_ms(health)}"
        found.append(_verdict(health <= HEALTH_BAR, text, HEALTH_BAR * 1000, "≤"))
    return found


def _verdict(met: bool, text: str, bar: float, sign: str) -> tuple[bool, str]:
    return met, f"{text} (bar {sign} {bar:g}): {'met' if met else '**missed**'}"


def _ms(seconds: float) -> str:
    milliseconds = seconds * 1000
    return f"{milliseconds:,.{0 if milliseconds >= 100 else 1 if milliseconds >= 10 else 2}f} ms"
