"""How fast is a step, and an edit, beside this machine's own limits and beside diffusers?

    python -m benchmarks.speed [--short]     on a CUDA card, the published sizes; --short: under nine minutes
    python -m benchmarks.speed --cpu         on one thread, the sizes "tiny" and "middle"; ratios only

Random weights, the same memory in ours and in diffusers'. The kernel floor is every product and every attention of a step
looped alone; "error" is the relative L2 distance of one velocity to that of diffusers in float32, and a mode that is to be
exact is so with at most 1.05 times the error of diffusers in bfloat16 (in float32: 1e-5). All contestants take turns in one
process. Printed, and written to benchmarks/results/speed*.json and speed*.png.
"""

import argparse
import copy
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

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

    def run(self, cases: Sequence[Case], contestants: Mapping[str, Contestant]) -> dict[str, Any]:
        self._expect(cases)
        for name, contestant in contestants.items():
            self._attempt(name, lambda name=name, contestant=contestant: self._make(name, contestant))
        found: dict[str, Any] = {}
        for case in cases:
            found[case.name] = self._case(case, contestants)
            seconds = self.device.type == "cuda"
            print("\n".join(report.lines(case.name, found[case.name], seconds=seconds)), flush=True)
        return {"cases": found, "copy_bytes_a_second": self.floor.copy_bytes_a_second()}

    def edits(self, case: Case, contestants: Mapping[str, Contestant], steps: int) -> dict[str, Any]:
        """Seconds of a whole edit by the wall: the second of two, the first has what happens once."""
        vae = random_vae(self.configuration.vae, self.device, self.dtype)
        vaes, asked = (vae, their_vae(vae)), question(self.config, case, self.device, self.dtype)
        found: dict[str, Any] = {}
        for name, contestant in contestants.items():
            model = self.models.get(name, self.ours if name in APPROXIMATIONS else None)
            if model is None:
                found[name] = {"unavailable": self.missing[name]}
                continue

            def measure(name: str = name, contestant: Contestant = contestant, model: Any = model) -> None:
                work = edit_of(contestant, model, vaes, asked, case, steps)
                first, second = self.clock.wall(work), self.clock.wall(work)
                found[name] = {
                    "seconds": second,
                    "first_seconds": first,
                    "peak_gib": self.clock.peak_gib(work),
                }

            if reason := self._attempt(name, measure):
                found[name] = {"unavailable": reason}
        for one in found.values():
            if "seconds" in one and "seconds" in found.get(BASE, {}):
                one["times_diffusers"] = found[BASE]["seconds"] / one["seconds"]
        return {"case": case.name, "steps": steps, "contestants": found}

    def _expect(self, cases: Sequence[Case]) -> None:
        """Velocities in float32, before anything else takes memory."""
        base = PEERS[BASE]
        model = copy.deepcopy(their_transformer(self.ours)).float()
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
                if case in self.expected:
                    found[name]["error"] = _distance(step(), self.expected[case])
                found[name]["step_gib"] = self.clock.peak_gib(step)
                steps[name] = step

            if reason := self._attempt(name, ready):
                found[name] = {"unavailable": reason}
        for name, times in self.clock.race(steps, self.options.rounds).items():
            over_floor = times.typical / floor["step"]
            found[name] |= {"seconds": times.typical, "spread": times.spread, "over_floor": over_floor}
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


def cases_of(configuration: Configuration, *, short: bool) -> list[Case]:
    """All sides with no, one, two and four references; in short the usual side with up to two, and the smallest with one."""
    if not short:
        return [Case(side, count) for side in configuration.sides for count in REFERENCE_COUNTS]
    usual = configuration.sides[len(configuration.sides) // 2]
    return [Case(usual, count) for count in (0, 1, 2)] + [
        Case(side, 1) for side in configuration.sides[:1] if side != usual
    ]


def only_ratios(result: Any) -> Any:
    """Without seconds and rates, which on a shared CPU say nothing."""
    left_out = ("seconds", "first_seconds", "floor", "copy_bytes_a_second", "peak_gib", "step_gib")
    if isinstance(result, Mapping):
        return {key: only_ratios(one) for key, one in result.items() if key not in left_out}
    return result


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="fewer cases, none that compiles for minutes")
    parser.add_argument("--cpu", action="store_true", help="on the CPU, in float32; ratios only")
    parser.add_argument(
        "--configuration", choices=CONFIGURATIONS, action="append", help="kontext; on a CPU tiny and middle"
    )
    parser.add_argument("--contestant", choices=[*MODES, *PEERS], action="append", help="only these (all)")
    parser.add_argument(
        "--rounds", type=int, help="timed steps of each (20; on a CPU 40 for tiny, 3 for middle)"
    )
    parser.add_argument(
        "--seconds", type=float, help="that each kernel is looped for (3; 0.3 in short, on a CPU)"
    )
    parser.add_argument("--steps", type=int, help="of a whole edit (28; on a CPU 4)")
    parser.add_argument("--threads", type=int, default=1, help="on a CPU (1)")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    if not options.cpu and not torch.cuda.is_available():
        parser.error("there is no CUDA card here; --cpu gives ratios on the CPU")
    return options


@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    device = torch.device("cpu" if options.cpu else "cuda")
    if options.cpu:
        torch.set_num_threads(options.threads)
    torch._dynamo.config.recompile_limit = 100  # each number of tokens is compiled anew
    contestants = {
        name: one
        for name, one in (MODES | PEERS).items()
        if (options.contestant is None or name in options.contestant) and not (options.short and one.slow)
    }
    short = options.short or options.cpu
    options.seconds = options.seconds or (0.3 if short else 3.0)
    given = options.rounds
    result: dict[str, Any] = {"machine": machine(device), "dtype": "float32" if options.cpu else "bfloat16"}
    for name in options.configuration or (["tiny", "middle"] if options.cpu else ["kontext"]):
        configuration = CONFIGURATIONS[name]
        options.rounds = given or ((3 if name == "middle" else 40) if options.cpu else 20)
        cases = cases_of(configuration, short=short)
        if name == "middle":
            cases = cases[:2]
        bench = Bench(configuration, device, options)
        result[name] = bench.run(cases, contestants) | {"rounds": options.rounds}
        with_ways = contestants | ({} if options.short or options.cpu else APPROXIMATIONS)
        edited = bench.edits(cases[1], with_ways, options.steps or (4 if options.cpu else 28))
        result[name]["edit"] = edited
    result["machine_after"] = machine(device)
    options.output.mkdir(parents=True, exist_ok=True)
    stem = "speed_cpu" if options.cpu else "speed"
    for name in result.keys() & CONFIGURATIONS.keys():
        shown = f"{result['machine'].get('card', 'CPU')}, {name}, {result['dtype']}"
        report.chart(result[name]["cases"], shown, options.output / f"{stem}_{name}.png")
    told = only_ratios(result) if options.cpu else result
    (options.output / f"{stem}.json").write_text(written(told), encoding="utf-8")


if __name__ == "__main__":
    main()
