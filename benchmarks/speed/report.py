"""What was found, as lines and as a chart."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

_COLOURS = {"ours": "#2f6f9f", "diffusers": "#c08a3e", "ComfyUI": "#7a7a7a"}


def lines(case: str, found: Mapping[str, Any], *, seconds: bool) -> Iterator[str]:
    """Args: seconds: whether times are worth telling, which on a shared CPU they are not."""
    floor = found["floor"]
    yield f"{case}: {found['tokens']} tokens" + (
        f", kernel floor {floor['step'] * 1000:.1f} ms (attention: {floor['attention_backend']})"
        if seconds
        else ""
    )
    for name, one in found["contestants"].items():
        if "unavailable" in one:
            yield f"  {name:26} {one['unavailable']}"
            continue
        parts = [f"{one['seconds'] * 1000:8.2f} ms"] if seconds else []
        parts += [f"{one['over_floor']:5.2f} x floor"]
        parts += [f"{one['times_diffusers']:5.2f} x diffusers"] if "times_diffusers" in one else []
        parts += [f"error {one['error']:.1e}"] if "error" in one else []
        parts += (
            [f"{one['weights_gib'] + one['step_gib']:6.2f} GiB"] if one.get("step_gib") is not None else []
        )
        parts += [f"first {one['first_seconds'] - one['seconds']:+.1f} s"] if seconds else []
        parts += [] if one.get("exact", True) else ["NOT EXACT"]
        parts += [] if one.get("same_bits", True) else ["OTHER BITS THE SECOND TIME"]
        yield f"  {name:26} " + ", ".join(parts)


def chart(cases: Mapping[str, Mapping[str, Any]], title: str, path: Path) -> None:
    """Each contestant's step over the kernel floor, which is the line at 1."""
    cases = {name: found for name, found in cases.items() if "contestants" in found}
    figure = Figure(
        figsize=(7.5, 0.8 + 0.28 * sum(_rows(found) + 1 for found in cases.values())), layout="constrained"
    )
    axes = figure.subplots()
    place, ticks, names = 0.0, [], []
    for case, found in cases.items():
        place -= 1
        axes.text(0, place, case, fontsize=9, fontweight="bold", va="center")
        for name, one in found["contestants"].items():
            if "over_floor" not in one:
                continue
            place -= 1
            axes.barh(place, one["over_floor"], color=_COLOURS[name.partition(",")[0]], height=0.75)
            axes.text(one["over_floor"], place, f" {one['over_floor']:.2f}", fontsize=8, va="center")
            ticks.append(place)
            names.append(name)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_yticks(ticks, names, fontsize=8)
    axes.set(
        xlabel="one step, times the kernel floor (products and attention alone)", title=title, xlim=(0, None)
    )
    axes.margins(x=0.1)
    axes.set_ylim(place - 0.8, -0.3)
    figure.savefig(path, dpi=110)


def _rows(found: Mapping[str, Any]) -> int:
    return sum("over_floor" in one for one in found["contestants"].values())
