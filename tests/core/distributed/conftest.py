"""Processes on this machine that join the tests' own, over gloo."""

import json
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import torch

from kontext_core.distributed.ranks import Ranks, joined
from kontext_core.distributed.sequence_parallel import Leader, SequenceParallelTransformer
from kontext_core.model.transformer import Transformer
from tests.core.conftest import SMALL

# The followers are forked and stopped by signals, and the edit is spread over cards of Linux machines.
collect_ignore_glob = [] if sys.platform == "linux" else ["test_*.py"]

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")

# What the ranks do that follow: they hold the network of the tests, made from the same seed.
FOLLOWERS = """
import json, os, sys
import torch
from kontext_core.config import TransformerConfig
from kontext_core.distributed.ranks import joined
from kontext_core.distributed.sequence_parallel import worker_loop
from kontext_core.model.transformer import Transformer

config, count, meet, timeout_s = sys.argv[1:]
sizes = {name: tuple(value) if isinstance(value, list) else value for name, value in json.loads(config).items()}
rank, child = 1, 0
while rank < int(count) - 1 and not (child := os.fork()):
    rank += 1
torch.set_num_threads(1)
torch.manual_seed(0)
network = Transformer(TransformerConfig(**sizes)).eval()
with joined(rank, int(count), torch.device("cpu"), init_method=meet, timeout_s=float(timeout_s)) as ranks:
    worker_loop([network], ranks)
sys.exit(os.waitpid(child, 0)[1] if child else 0)
"""


@dataclass
class Group:
    """Rank 0's view.

    Args:
        spread: the `transformer` fixture over all ranks.
        others: rank 1, which waits for the rest.
    """

    ranks: Ranks
    leader: Leader
    spread: SequenceParallelTransformer
    others: subprocess.Popen[bytes]


@pytest.fixture(scope="session")
def make_group(
    transformer: Transformer, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Callable[..., Group]]:
    """`make_group(count, timeout_s=60)`: one at a time; the last one's end is up to whoever made it."""
    with ExitStack() as stack:

        def make(count: int, timeout_s: float = 60.0) -> Group:
            stack.close()
            meet = (tmp_path_factory.mktemp("ranks") / "meet").as_uri()
            arguments = [json.dumps(asdict(SMALL)), str(count), meet, str(timeout_s)]
            others = subprocess.Popen([sys.executable, "-c", FOLLOWERS, *arguments], cwd=ROOT)
            stack.callback(others.wait)
            stack.callback(others.kill)
            ranks = stack.enter_context(joined(0, count, CPU, init_method=meet, timeout_s=timeout_s))
            ranks.barrier()
            leader = Leader(ranks)
            return Group(ranks, leader, SequenceParallelTransformer(transformer, ranks, 0, leader), others)

        yield make
