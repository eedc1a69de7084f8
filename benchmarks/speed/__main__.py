"""How fast is a step, and an edit, beside this machine's own limits and beside diffusers?

    python -m benchmarks.speed --short       on a CUDA card, the published model: four cases, nine minutes
    python -m benchmarks.speed --side 1024   on a CUDA card, all contestants and references at that size
    python -m benchmarks.speed               on a CUDA card, 512, 1024 and 2048 px: about two hours on an H100
    python -m benchmarks.speed --cpu         on one thread, the sizes "tiny" and "middle"; ratios only

Random weights, the same memory in ours and in diffusers', but for what `Pipeline.load` lays out anew on a
CPU. The kernel floor is every product and every attention of a step looped alone; "error" is the relative L2
distance of one velocity to that of diffusers in float32, and a mode that is to be exact is so with at most
1.05 times the error of diffusers in bfloat16 (in float32: 1e-5), and gives the same bits when asked twice.
"first" is what the first step of a case took beyond a usual
one: compiling, looking for kernels. All contestants take turns in one process. Printed, and written after
each case to speed*.json, at the end to speed*.png, in benchmarks/results.
"""

import argparse
import copy
import math
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kontext_core.cli.options import positive
from kontext_core.kernels.attention_backends import attention_backend_for
from kontext_core.kernels.dispatch import runs_fused
from kontext_core.sampling.cuda_graph import release_graphs

from . import report
from .cases import CONFIGURATIONS, REFERENCE_COUNTS, Case, Configuration, step_flop
from .clock import Clock, machine, written
from .contestants import APPROXIMATIONS, MODES, PEERS, Contestant, UnavailableError, step_of, weights_gib
from .edit import edit_of
from .floor import Floor
from .models import question, random_transformer, random_vae, their_transformer, their_vae

RESULTS = Path(__file__).parents[1] / "results"
BASE = "diffusers"
MOST_FLOAT32_TOKENS = 20_000  # beyond it a forward in float32 is left out
EXACT_FLOAT32, EXACT_TIMES = 1e-5, 1.05
SHORT_MINUTES = 9.0
SHORT_EDITS = ("ours", "ours, fp8", "diffusers", "diffusers, compiled", "diffusers, torchao fp8")
NO_TIME = "no time was left"


class Bench:
    """One configuration on one device."""

    def __init__(
        self, configuration: Configuration, device: torch.device, options: argparse.Namespace
    ) -> None:
        self.configuration, self.device, self.options = configuration, device, options
        self.dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.clock = Clock(device)
        self.config = configuration.transformer
        self.ours = random_transformer(self.config, device, self.dtype)
        self.floor = Floor(self.clock, self.config, self.dtype, options.seconds)
        self.models: dict[str, Any] = {}
        self.missing: dict[str, str] = {}
        self.expected: dict[Case, Tensor] = {}
        self.typical: dict[str, float] = {}  # seconds of a step of the usual edit

    def run(
        self,
        cases: Sequence[Case],
        contestants: Mapping[str, Contestant],
        keep: Callable[[Any], None],
        *,
        expect: bool = True,
    ) -> dict[str, Any]:
        """Args:
        cases: in this order.
        contestants: in turns.
        keep: is shown what there is after each case, since time on a card can end before the last one.
        expect: whether each is compared with float32.
        """
        if expect:
            self._expect(cases)
        for name, contestant in contestants.items():
            self._attempt(name, lambda name=name, contestant=contestant: self._make(name, contestant))
        found: dict[str, Any] = {}
        result = {"cases": found, "copy_bytes_a_second": self.floor.copy_bytes_a_second()}
        last: tuple[float, float] | None = None  # seconds and work of the case before
        for case in cases:
            work = sum(step_flop(self.config, case.image_tokens + self.config.text_length))
            if last is not None and self._left() < last[0] * max(1.0, work / last[1]):
                found[case.name] = {"unavailable": NO_TIME}
                continue
            begun = time.monotonic()
            found[case.name] = self._case(case, contestants)
            last = time.monotonic() - begun, work
            seconds = self.device.type == "cuda"
            print("\n".join(report.lines(case.name, found[case.name], seconds=seconds)), flush=True)
            keep(result)
        return result

    def _left(self) -> float:
        """Seconds until no more is begun."""
        return self.options.until - time.monotonic()

    def edits(self, case: Case, contestants: Mapping[str, Contestant], steps: int) -> dict[str, Any]:
        """Seconds of a whole edit by the wall: the second of two, the first has what happens once."""
        vae = random_vae(self.configuration.vae, self.device, self.dtype)
        theirs = their_vae(vae) if find_spec("diffusers") else None
        vaes, asked = (vae, theirs), question(self.config, case, self.device, self.dtype)
        found: dict[str, Any] = {}
        for name, contestant in contestants.items():
            model = self.models.get(name, self.ours if name in APPROXIMATIONS else None)
            if model is None:
                found[name] = {"unavailable": self.missing[name]}
                continue
            usual = self.typical.get(name) or self.typical.get("ours") or 0.0
            if self._left() < 2.2 * steps * usual:
                found[name] = {"unavailable": NO_TIME}
                continue

            def measure(name: str = name, contestant: Contestant = contestant, model: Any = model) -> None:
                work = edit_of(contestant, model, vaes, asked, case, steps)
                first = self.clock.wall(work)
                seconds: list[float] = []
                peak = self.clock.peak_gib(lambda: seconds.append(self.clock.wall(work)))
                found[name] = {"seconds": seconds[0], "first_seconds": first, "peak_gib": peak}

            if reason := self._attempt(name, measure):
                found[name] = {"unavailable": reason}
        for one in found.values():
            if "seconds" in one and "seconds" in found.get(BASE, {}):
                one["times_diffusers"] = found[BASE]["seconds"] / one["seconds"]
        return {"case": case.name, "steps": steps, "contestants": found}

    def _expect(self, cases: Sequence[Case]) -> None:
        """Velocities in float32, before anything else takes memory."""
        base = PEERS[BASE] if find_spec("diffusers") else MODES["ours, plain"]
        network = their_transformer(self.ours) if find_spec("diffusers") else self.ours
        model = copy.deepcopy(network).float()
        for case in cases:
            asked = question(self.config, case, self.device, torch.float32)
            if case.image_tokens <= MOST_FLOAT32_TOKENS:
                self._attempt(
                    "float32", lambda case=case, asked=asked: self._keep(case, step_of(base, model, asked))
                )

    def _keep(self, case: Case, step: Callable[[], Tensor]) -> None:
        self.expected[case] = step().float().cpu()

    def _make(self, name: str, contestant: Contestant) -> None:
        self.models[name] = contestant.make(self.ours)

    def _case(self, case: Case, contestants: Mapping[str, Contestant]) -> dict[str, Any]:
        asked = question(self.config, case, self.device, self.dtype)
        floor = self.floor.of(case)
        steps: dict[str, Callable[[], Tensor]] = {}
        found: dict[str, dict[str, Any]] = {}
        for name, contestant in contestants.items():
            if name not in self.models:
                found[name] = {"unavailable": self.missing[name]}
                continue
            model = self.models[name]
            found[name] = {"weights_gib": weights_gib(model)}

            def ready(name: str = name, contestant: Contestant = contestant, model: Any = model) -> None:
                step = step_of(contestant, model, asked)
                made: list[Tensor] = []
                found[name]["first_seconds"] = self.clock.wall(lambda: made.append(step()))
                if case in self.expected:
                    found[name]["error"] = _distance(made[0], self.expected[case])
                found[name]["step_gib"] = self.clock.peak_gib(lambda: made.append(step()))
                found[name]["same_bits"] = torch.equal(*made)
                steps[name] = step

            if reason := self._attempt(name, ready):
                found[name] = {"unavailable": reason}
        for name, times in self.clock.race(steps, self.options.rounds).items():
            over_floor = times.typical / floor["step"]
            found[name] |= {"seconds": times.typical, "spread": times.spread, "over_floor": over_floor}
            if case == usual_edit(self.configuration):
                self.typical[name] = times.typical
        release_graphs()
        self._compare(found, contestants)
        flop = step_flop(self.config, case.image_tokens + self.config.text_length)
        return {
            "tokens": case.image_tokens + self.config.text_length,
            "tflop": {"products": flop[0] / 1e12, "attention": flop[1] / 1e12},
            "floor": floor,
            "contestants": found,
        }

    def _compare(self, found: dict[str, dict[str, Any]], contestants: Mapping[str, Contestant]) -> None:
        base = found.get(BASE, {})
        for name, one in found.items():
            if "seconds" in one and "seconds" in base:
                one["times_diffusers"] = base["seconds"] / one["seconds"]
            if "error" in one and "error" in base and contestants[name].exact:
                most = EXACT_FLOAT32 if self.dtype == torch.float32 else EXACT_TIMES * base["error"]
                one["exact"] = one["error"] <= most

    def _attempt(self, name: str, work: Callable[[], None]) -> str | None:
        """Why it could not be done, if so: time on a card is too dear for one contestant to end all."""
        try:
            work()
        except UnavailableError as error:
            self.missing[name] = str(error)
        except Exception as error:  # whatever a compiler or a kernel of others raises
            traceback.print_exc(file=sys.stderr)
            self.missing[name] = (
                f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
            )
        else:
            return None
        return self.missing[name]


def _distance(actual: Tensor, expected: Tensor) -> float:
    return float((actual.float().cpu() - expected).norm() / expected.norm())


def usual_edit(configuration: Configuration) -> Case:
    return Case(configuration.sides[len(configuration.sides) // 2], 1)


def cases_of(configuration: Configuration, *, short: bool, sides: Sequence[int] | None = None) -> list[Case]:
    """All sides with no, one, two and four references; in short the usual side with up to two,
    and the smallest with one.

    The usual edit comes first of its side. Args: sides: these, in place of the configuration's.
    """
    usual = usual_edit(configuration)
    if short and sides is None:
        smallest = Case(configuration.sides[0], 1)
        return [
            usual,
            *(Case(usual.side_px, count) for count in (0, 2)),
            *([smallest] if smallest != usual else []),
        ]
    counts = sorted(REFERENCE_COUNTS[: 3 if short else None], key=lambda count: count != 1)
    return [Case(side, count) for side in sides or configuration.sides for count in counts]


def uses(bench: "Bench") -> dict[str, Any]:
    """What an edit on this machine takes unless asked otherwise."""
    heads = bench.config.num_heads
    q = torch.empty(1, 128, heads, bench.config.hidden_size // heads, device=bench.device, dtype=bench.dtype)
    fused = bench.device.type == "cuda" and runs_fused(q.device)
    return {"fused_kernels": fused, "attention": attention_backend_for(q)}


def only_ratios(result: Any) -> Any:
    """Without seconds and rates, which on a shared CPU say nothing."""
    left_out = (
        "seconds", "first_seconds", "floor", "copy_bytes_a_second", "peak_gib", "step_gib", "minutes",
    )  # fmt: skip
    if isinstance(result, Mapping):
        return {key: only_ratios(one) for key, one in result.items() if key not in left_out}
    return result


def _amount(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not an amount of time; give a number above 0")
    return number


def _side(text: str) -> int:
    if not text.isdecimal() or int(text) % 16 or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is no side of a picture here; give a multiple of 16")
    return int(text)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--short", action="store_true", help="fewer cases, and none that compiles for minutes"
    )
    parser.add_argument("--cpu", action="store_true", help="on the CPU, in float32; ratios only")
    parser.add_argument(
        "--configuration", choices=CONFIGURATIONS, action="append", help="kontext; on a CPU tiny and middle"
    )
    parser.add_argument(
        "--side",
        type=_side,
        action="append",
        metavar="PX",
        help="of the pictures, once for each (the model's)",
    )
    parser.add_argument("--contestant", choices=[*MODES, *PEERS], action="append", help="only these (all)")
    parser.add_argument(
        "--rounds", type=positive, help="timed steps of each (20; on a CPU 40 for tiny, 3 for middle)"
    )
    parser.add_argument(
        "--seconds", type=_amount, help="that each kernel is looped for (3; 0.3 in short, on a CPU)"
    )
    parser.add_argument(
        "--steps", type=positive, help="of a whole edit (28; on a CPU 4 for tiny, 2 for middle)"
    )
    parser.add_argument(
        "--minutes",
        type=_amount,
        help=f"no case or edit is begun that would not end by then ({SHORT_MINUTES:g} in short, else no limit)",
    )
    parser.add_argument("--threads", type=positive, help="of the CPU (1)")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FOLDER", help="benchmarks/results")
    options = parser.parse_args(arguments)
    if not options.cpu and not torch.cuda.is_available():
        parser.error("there is no CUDA card here; --cpu gives ratios on the CPU")
    if options.cpu and "kontext" in (options.configuration or ()):
        parser.error(
            "the configuration kontext is for a card: on a CPU a step takes minutes; choose tiny, middle or least"
        )
    if options.threads is not None and not options.cpu:
        parser.error("--threads is for a CPU; leave it out, or give --cpu")
    if options.output.is_file():
        parser.error(f"--output {options.output} is a file; name a folder")
    return options


@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> None:
    begun = time.monotonic()
    options = _options(arguments)
    device = torch.device("cpu" if options.cpu else "cuda")
    if options.cpu:
        torch.set_num_threads(options.threads or 1)
    else:
        torch._dynamo.config.recompile_limit = 100  # each number of tokens is compiled anew
    contestants = {
        name: one
        for name, one in (MODES | PEERS).items()
        if (options.contestant is None or name in options.contestant) and not (options.short and one.slow)
    }
    short = options.short or options.cpu
    options.seconds = options.seconds or (0.3 if short else 3.0)
    limit = options.minutes or (SHORT_MINUTES if options.short and not options.cpu else math.inf)
    options.until = begun + 60 * limit
    given = options.rounds
    result: dict[str, Any] = {"machine": machine(device), "dtype": "float32" if options.cpu else "bfloat16"}
    options.output.mkdir(parents=True, exist_ok=True)
    stem = "speed_cpu" if options.cpu else "speed"

    def keep() -> None:
        told = only_ratios(result) if options.cpu else result
        (options.output / f"{stem}.json").write_text(written(told), encoding="utf-8")

    for name in options.configuration or (["tiny", "middle"] if options.cpu else ["kontext"]):
        configuration = CONFIGURATIONS[name]
        options.rounds = given or ((3 if name == "middle" else 40) if options.cpu else 20)
        cases = cases_of(configuration, short=short, sides=options.side)
        if name == "middle":
            cases = cases[:2]
        bench = Bench(configuration, device, options)
        mine = result[name] = {"rounds": options.rounds, "uses": uses(bench)}

        edit = usual_edit(configuration)
        edit = edit if edit in cases else cases[0]
        steps = options.steps or ((2 if name == "middle" else 4) if options.cpu else 28)
        ways = contestants | ({} if short else APPROXIMATIONS)
        if options.short:
            ways = {name: one for name, one in ways.items() if name in SHORT_EDITS}

        def now(
            found: dict[str, Any],
            mine: dict[str, Any] = mine,
            bench: Bench = bench,
            edited: tuple[Any, ...] = (edit, ways, steps),
        ) -> None:
            """Whole edits come behind the first case, before time can run out."""
            mine.update(found)
            keep()
            if "edit" not in mine:
                mine["edit"] = bench.edits(*edited)
                keep()

        now(bench.run(cases, contestants, now))
        shown = f"{result['machine'].get('card', 'CPU')}, {name}, {result['dtype']}"
        report.chart(mine["cases"], shown, options.output / f"{stem}_{name}.png")
    result["machine_after"] = machine(device)
    result["minutes"] = (time.monotonic() - begun) / 60
    keep()


if __name__ == "__main__":
    main()
