"""What a page's scripts cost, by Chromium's own profiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page

INTERVAL_US = 500


def longest_ms(page: Page, address: str, work: Callable[[], None]) -> tuple[float, float]:
    """Runs `work` and looks at all that the page does meanwhile.

    Args:
        address: a part of the addresses of the scripts that count, whoever calls them.
    Returns: milliseconds of their longest stretch without a pause, and of all of them.
    """
    session = page.context.new_cdp_session(page)
    try:
        session.send("Profiler.enable")
        session.send("Profiler.setSamplingInterval", {"interval": INTERVAL_US})
        session.send("Profiler.start")
        work()
        profile = session.send("Profiler.stop")["profile"]
    finally:
        session.detach()
    return stretches(profile, address)


def stretches(profile: dict[str, Any], address: str) -> tuple[float, float]:
    """`longest_ms` of a profile as Chromium's protocol has it."""
    counts: dict[int, bool] = {}
    for node in profile["nodes"]:  # parents come before their children
        counts[node["id"]] = counts.get(node["id"], False) or address in node["callFrame"]["url"]
        for child in node.get("children", []):
            counts[child] = counts.get(child, False) or counts[node["id"]]
    longest = stretch = total = 0.0
    for sample, passed in zip(profile["samples"], profile["timeDeltas"], strict=True):
        stretch = stretch + passed / 1000 if counts[sample] else 0.0
        longest, total = max(longest, stretch), total + (passed / 1000 if counts[sample] else 0.0)
    return longest, total
