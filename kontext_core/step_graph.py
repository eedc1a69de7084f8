"""One step of the loop as a CUDA graph: a fixed shape, recorded once and replayed, so that the host need not keep up.

Off unless wished (`kernels.Wishes`), because recorded memory stays taken as long as the graph is kept. The loop asks
`velocity` and does not know. A graph is for a network whose weights stay where they are.
Source: pytorch.org, CUDA semantics, CUDA Graphs.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from .attention import KeyWeights, is_exchanging
from .kernels import wishes
from .transformer import ModulationTable, Prepared, Transformer

log = logging.getLogger(__name__)

Record = Callable[[Callable[[], Tensor]], tuple[Tensor, Callable[[], None]]]
_KEPT = 2  # shapes of one network


def velocity(
    network: Transformer, tokens: Tensor, prepared: Prepared, table: ModulationTable, step: int
) -> Tensor:
    """`Transformer.velocity`, from a graph where that is wished and can be."""
    if not (tokens.is_cuda and wishes().graph) or is_exchanging():
        return network.velocity(tokens, prepared, table, step)
    graph = _graphs.setdefault(network, StepGraph())
    try:
        return graph.velocity(network, tokens, prepared, table, step)
    except torch.cuda.OutOfMemoryError as error:
        log.info("no room for the graph of a step, it runs without one: %s", error)
        graph.release()
        torch.cuda.empty_cache()
        return network.velocity(tokens, prepared, table, step)


def release_graphs() -> None:
    """Give the memory of all graphs back."""
    for graph in _graphs.values():
        graph.release()


@dataclass
class Recording:
    """A step on tensors of its own, which are filled before it is replayed. Args: shown: the edit that lies in them."""

    tokens: Tensor
    prepared: Prepared
    row: ModulationTable
    result: Tensor
    replay: Callable[[], None]
    shown: Prepared | None = None


class StepGraph:
    """The recorded steps of one network, by shape; the latest few are kept.

    Args: record: runs a function once as it is to be replayed, and returns its result, and what computes that anew.
    """

    def __init__(self, record: Record | None = None) -> None:
        self._record = record or record_on_cuda
        self._recordings: dict[object, Recording | None] = {}

    def velocity(
        self, network: Transformer, tokens: Tensor, prepared: Prepared, table: ModulationTable, step: int
    ) -> Tensor:
        shape = _shape(tokens, prepared, table)
        if shape not in self._recordings:
            while len(self._recordings) >= _KEPT:
                del self._recordings[next(iter(self._recordings))]
            stays = all(one.device == tokens.device for one in network.state_dict().values())
            made = self._recorded(network, tokens, prepared, table, step) if stays else None
            self._recordings[shape] = made
        recording = self._recordings[shape]
        if recording is None:
            return network.velocity(tokens, prepared, table, step)
        recording.tokens.copy_(tokens)
        if recording.shown is not prepared:
            _fill(_tensors(recording.prepared), _tensors(prepared))
            recording.shown = prepared
        _fill(_rows(recording.row), _rows(_row(table, step)))
        recording.replay()
        return recording.result.clone()

    def release(self) -> None:
        """Give the memory back; the next step is recorded anew."""
        self._recordings.clear()

    def _recorded(
        self, network: Transformer, tokens: Tensor, prepared: Prepared, table: ModulationTable, step: int
    ) -> Recording:
        own, weights = tokens.clone(), prepared.weights
        kept = Prepared(
            prepared.pe.clone(),
            prepared.txt.clone(),
            prepared.references.clone(),
            weights and KeyWeights(weights.query.clone(), weights.key.clone()),
        )
        row = _row(table, step)
        row = ModulationTable(_cloned(row.img), _cloned(row.txt), _cloned(row.single), row.last.clone())
        result, replay = self._record(lambda: network.velocity(own, kept, row, 0))
        return Recording(own, kept, row, result, replay, prepared)


def record_on_cuda(run: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
    """Two runs to warm up on a stream beside, and one that is recorded."""
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(2):
            run()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = run()
    return result, graph.replay


def _shape(tokens: Tensor, prepared: Prepared, table: ModulationTable) -> object:
    parts = [tokens, *_tensors(prepared), table.last[0]]
    return (wishes(), prepared.weights is None, *((one.shape, one.dtype) for one in parts))


def _tensors(prepared: Prepared) -> list[Tensor]:
    weights = prepared.weights
    keys = [] if weights is None else [weights.query, weights.key]
    return [prepared.pe, prepared.txt, prepared.references, *keys]


def _row(table: ModulationTable, step: int) -> ModulationTable:
    """The vectors of one step, as a table of that step alone."""
    row = slice(step, step + 1)
    img, txt, single = ([one[row] for one in part] for part in (table.img, table.txt, table.single))
    return ModulationTable(img, txt, single, table.last[row])


def _cloned(tensors: list[Tensor]) -> list[Tensor]:
    return [one.clone() for one in tensors]


def _rows(table: ModulationTable) -> list[Tensor]:
    return [*table.img, *table.txt, *table.single, table.last]


def _fill(into: list[Tensor], tensors: list[Tensor]) -> None:
    for place, tensor in zip(into, tensors, strict=True):
        place.copy_(tensor)


_graphs: WeakKeyDictionary[Transformer, StepGraph] = WeakKeyDictionary()
