"""`unshare -rm python -m tests.core.small_disk FOLDER`: everything that writes, on a disk that is
full and on a read-only one.

Each writes once, and is asked to write something else when it no longer can. Prints JSON: for each and
each fault, what was said, and the files that are not what they were. No model is asked for a picture here,
nor transformers imported.
"""

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch
from PIL import Image
from torch import nn

from kontext_core.batch.store import Store
from kontext_core.chain import Chain, save_chain
from kontext_core.chain.turns import Turn
from kontext_core.cli import main
from kontext_core.edit_settings import EditSettings
from kontext_core.loading import save_model
from kontext_core.model.transformer import Transformer
from kontext_core.model.vae import VAE
from kontext_core.remote.run import write_new
from kontext_core.train.config import TINY_TRANSFORMER, TINY_VAE
from kontext_core.train.run import TrainingRun

DISK_MIB = 16
SMALLEST = 4096  # bytes that such a disk gives out at once


def chain(folder: Path, number: int) -> None:
    turn = Turn(torch.rand(1, 64, 64, 3), torch.rand(1, 16, 8, 8), seed=number)
    save_chain(Chain((turn,)), folder / "picture.png")


def model(folder: Path, number: int) -> None:
    torch.manual_seed(number)
    small = replace(TINY_TRANSFORMER, depth=1, depth_single_blocks=1)
    save_model(folder, transformer=Transformer(small), vae=VAE(TINY_VAE))


def edit(folder: Path, number: int) -> None:
    picture = folder.parent / "given.png"
    if not picture.exists():
        Image.new("RGB", (64, 64), "red").save(picture)
    said = io.StringIO()
    options = ["--seed", str(number), "--output", str(folder)]
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        failed = main(["edit", str(picture), "make it blue", *options])
    if failed:
        raise OSError(said.getvalue().rpartition("kontext: ")[2].rstrip("\n"))


def batch(folder: Path, number: int) -> None:
    with Store.opened(folder) as store:
        store.done("a", [bytes([number]) * 10_000], {"key": str(number)})


def batch_line(folder: Path, number: int) -> None:
    with Store.opened(folder) as store:
        store.failed("a", "no" * SMALLEST, {"key": str(number)})


def run(folder: Path, number: int) -> TrainingRun:
    torch.manual_seed(number)
    return TrainingRun(folder, nn.Linear(8, 8), [], minutes=1, warmup_steps=1, cooldown=0, average_decay=0.9)


def training_state(folder: Path, number: int) -> None:
    run(folder, number).save()


def training_log(folder: Path, number: int) -> None:
    with contextlib.redirect_stderr(io.StringIO()):
        run(folder, number).record(loss=number, more="x" * SMALLEST)


def scores(folder: Path, number: int) -> None:
    from kontext_core.eval.report import save_scores

    save_scores({"rates": number}, folder / "scores.json")


def workflow_picture(folder: Path, number: int) -> None:
    write_new(folder, "picture.png", bytes([number]) * 10_000)


WRITERS: tuple[Callable[[Path, int], None], ...] = (
    chain, model, edit, batch, batch_line, training_state, training_log, scores, workflow_picture,
)  # fmt: skip


def files(folder: Path) -> dict[str, bytes]:
    return {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


@contextlib.contextmanager
def full(disk: Path) -> Iterator[None]:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(SMALLEST))
    yield
    filler.unlink()


@contextlib.contextmanager
def read_only(disk: Path) -> Iterator[None]:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    yield
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)


def attempt(write: Callable[[Path, int], None], folder: Path) -> dict[str, object]:
    before, said = files(folder), None
    try:
        write(folder, 2)
    except OSError as error:
        said = str(error)
    after = files(folder)
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    return {"said": said, "changed": sorted(changed)}


class Pretended:
    """A model that answers with noise."""

    from_spec = classmethod(lambda cls, *_, **__: cls())

    def describe_memory(self) -> str:
        return ""

    def edit(self, *_: object, settings: EditSettings, **__: object) -> SimpleNamespace:
        dice = torch.Generator().manual_seed(settings.seed)
        return SimpleNamespace(image=torch.rand(1, 64, 64, 3, generator=dice), reports=())


def faults(disk: Path) -> dict[str, dict[str, dict[str, object]]]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", disk], check=True)
    found: dict[str, dict[str, dict[str, object]]] = {}
    for write in WRITERS:
        (disk / write.__name__).mkdir()
        write(disk / write.__name__, 1)
    for fault in (full, read_only):
        with fault(disk):
            found[fault.__name__] = {
                write.__name__: attempt(write, disk / write.__name__) for write in WRITERS
            }
    return found


if __name__ == "__main__":
    pretended = SimpleNamespace(Edit=SimpleNamespace, Pipeline=Pretended)
    sys.modules["kontext_core.pipeline"] = pretended  # pyright: ignore[reportArgumentType]
    sys.stdout.write(json.dumps(faults(Path(sys.argv[1]))))
