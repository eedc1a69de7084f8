"""One step with no, one and two references: ours in its modes beside diffusers and ComfyUI,
and the floor of this card.
"""

import argparse
import math
from typing import Any

import torch

from ..speed.__main__ import Bench
from ..speed.cases import CONFIGURATIONS, Case
from ..speed.contestants import MODES, PEERS, Contestant
from .store import Context
from .targets import row_name

USUAL = ("ours", "ours, fp8", "diffusers", "ComfyUI")
# What is compiled waits for it at each size, so it runs at the one that counts most.
ALL = (*USUAL, "ours, graph", "ours, compiled", "diffusers, compiled", "ComfyUI, compiled", "ours, plain")
ROUNDS = {1: 20, 0: 20, 2: 10}  # by references, in the order of value
SECONDS = 0.1  # that each shape of the floor is looped


@torch.no_grad()
def measure_steps(context: Context) -> None:
    """A row for each number of references, written when it is done."""
    configuration = CONFIGURATIONS["least" if context.rehearse else "kontext"]
    side = configuration.sides[0] if context.rehearse else 1024
    rounds = dict.fromkeys(ROUNDS, 2) if context.rehearse else ROUNDS
    options = argparse.Namespace(seconds=0.002 if context.rehearse else SECONDS, rounds=0, until=math.inf)
    torch._dynamo.config.recompile_limit = 100  # of peers, whose blocks share one count
    bench = Bench(configuration, context.device, options)
    contestants = MODES | PEERS
    for references, count in rounds.items():
        case = Case(side, references)
        usual = references == 1
        chosen = {name: contestants[name] for name in (ALL if usual else USUAL)}

        def measure(
            case: Case = case, chosen: dict[str, Contestant] = chosen, count: int = count, usual: bool = usual
        ) -> dict[str, Any]:
            options.rounds = count
            found = bench.run([case], chosen, lambda _: None, expect=usual)["cases"][case.name]
            bench.models.clear()
            return {"case": case.name, "rounds": count, **found}

        context.attempt(row_name(references), measure, needs=0.0 if context.rehearse else 20.0)
    context.attempt("copy", lambda: {"bytes_a_second": bench.floor.copy_bytes_a_second()})
