"""One step as a CUDA graph of a fixed shape, recorded once and replayed, so that no host must keep up.

Off unless requested (`ComputeOptions`), because recorded memory stays taken as long as the graph is kept. The
loop calls `velocity` either way. A graph is for a network whose weights stay where they are.

Source: pytorch.org, CUDA semantics, CUDA Graphs.
"""

import gc
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..kernels.options import compute_options
from ..model.attention import KeyWeights, is_exchanging
from ..model.blocks import Modulation
from ..model.transformer import ModulationTable, PreparedInputs, Transformer

log = logging.getLogger(__name__)

Record = Callable[[Callable[[], Tensor]], tuple[Tensor, Callable[[], None]]]
_KEPT = 2  # shapes of one network


def velocity(
    network: Transformer, tokens: Tensor, prepared: PreparedInputs, table: ModulationTable, step: int
) -> Tensor:
    """Compute `Transformer.velocity`, from a graph if one is requested and possible."""
    if not (tokens.is_cuda and compute_options().graph) or is_exchanging():
        return network.velocity(tokens, prepared, table, step)
    with torch.cuda.device(tokens.device):
        return _graphs.setdefault(network, StepGraph()).velocity(network, tokens, prepared, table, step)


def release_graphs(*networks: Transformer) -> None:
    """Free the memory of these networks' graphs, or of all graphs if no network is named."""
    named = [_graphs[network] for network in networks if network in _graphs]
    for graph in named if networks else list(_graphs.values()):
        graph.release()


@dataclass
class Step:
    """A step on tensors of its own, which are filled before it is replayed."""

    tokens: Tensor
    prepared: PreparedInputs
    row: ModulationTable
    result: Tensor
    replay: Callable[[], None]


@dataclass
class Recording:
    """A recorded step of one shape.

    Args:
        weights: their addresses at the recording.
        shown: the inputs of the latest edit.
        step: None where it cannot be recorded.
    """

    weights: tuple[int, ...]
    shown: PreparedInputs
    step: Step | None


class StepGraph:
    """The latest recorded steps of one network, by shape, for as long as its weights stay in place.

    Args:
        record: runs a function as it is to be replayed; returns its result and what computes that anew.
    """

    def __init__(self, record: Record | None = None) -> None:
        self._record = record or record_on_cuda
        self._recordings: dict[object, Recording] = {}

    def velocity(
        self,
        network: Transformer,
        tokens: Tensor,
        prepared: PreparedInputs,
        table: ModulationTable,
        step: int,
    ) -> Tensor:
        recording = self._recording(network, tokens, prepared, table, step)
        recorded = recording.step
        if recorded is None:
            recording.shown = prepared
            return network.velocity(tokens, prepared, table, step)
        recorded.tokens.copy_(tokens)
        if recording.shown is not prepared:
            _fill(_tensors(recorded.prepared), _tensors(prepared))
            recording.shown = prepared
        _fill(_rows(recorded.row), _rows(_row(table, step)))
        recorded.replay()
        return recorded.result.clone()

    def release(self) -> None:
        """Free the memory; the next step is recorded anew."""
        self._recordings.clear()

    def _recording(
        self,
        network: Transformer,
        tokens: Tensor,
        prepared: PreparedInputs,
        table: ModulationTable,
        step: int,
    ) -> Recording:
        """Get the recording of this shape; record one if there is none, or if weights have moved."""
        shape = _shape(tokens, prepared, table)
        recording = self._recordings.get(shape)
        if recording is not None and recording.shown is prepared:
            return recording
        weights = tuple(tensor.data_ptr() for tensor in _weights(network))
        if recording is None or recording.weights != weights:
            self._recordings.pop(shape, None)
            while len(self._recordings) >= _KEPT:
                del self._recordings[next(iter(self._recordings))]
            stays = all(tensor.device == tokens.device for tensor in _weights(network))
            recorded = self._recorded(network, tokens, prepared, table, step) if stays else None
            recording = self._recordings[shape] = Recording(weights, prepared, recorded)
        return recording

    # ComfyUI runs nodes in inference mode, and what is made there could not be filled outside it
    @torch.inference_mode(False)
    @torch.no_grad()
    def _recorded(
        self,
        network: Transformer,
        tokens: Tensor,
        prepared: PreparedInputs,
        table: ModulationTable,
        step: int,
    ) -> Step | None:
        """Record a step; None if memory is short or the step cannot be recorded: then it runs as it is."""
        try:
            own, weights = tokens.clone(), prepared.weights
            copies = PreparedInputs(
                prepared.pe.clone(),
                prepared.txt.clone(),
                prepared.references.clone(),
                weights and KeyWeights(weights.query.clone(), weights.key.clone()),
            )
            row = _row(table, step)
            row = ModulationTable(_cloned(row.img), _cloned(row.txt), _cloned(row.single), row.last.clone())
            result, replay = self._record(lambda: network.velocity(own, copies, row, 0))
        except RuntimeError as error:  # torch's of memory, and CUDA's of what no graph can hold
            log.warning("the step runs without a graph: %s", str(error).partition("\n")[0])
        else:
            return Step(own, copies, row, result, replay)
        self.release()
        gc.collect()  # an error may hold itself, and with it what the attempt had made
        torch.cuda.empty_cache()
        return None


def record_on_cuda(run: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
    """Run a function twice to warm up, on a side stream of the current device, and record it there.

    If recording fails, everything is put back as it was: torch itself would stay on that stream, refuse
    random numbers, and keep its allocator from freeing memory.
    """
    main, beside, pool = torch.cuda.current_stream(), torch.cuda.Stream(), torch.cuda.graph_pool_handle()
    beside.wait_stream(main)
    try:
        with torch.cuda.stream(beside):
            for _ in range(2):
                run()
    finally:
        main.wait_stream(beside)
    graph, device = torch.cuda.CUDAGraph(), torch.cuda.current_device()
    generator = torch.cuda.default_generators[device]
    random_state = generator.clone_state()
    # other threads may go on with what a recording forbids
    recording = torch.cuda.graph(graph, pool=pool, stream=beside, capture_error_mode="thread_local")
    try:
        with torch.cuda.stream(beside), recording:
            result = run()
    except BaseException:
        generator.graphsafe_set_state(random_state)
        with suppress(RuntimeError):  # of a recording that came to its end
            torch._C._cuda_endAllocateToPool(device, pool)  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
            torch._C._cuda_releasePool(device, pool)  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
        raise
    return result, graph.replay


def _weights(network: Transformer) -> list[Tensor]:
    """List the weights that a step reads, without the blocks' modulation, which may have left the device."""
    rare = [module for module in network.modules() if isinstance(module, Modulation)]
    beside = {id(tensor) for module in rare for tensor in (*module.parameters(), *module.buffers())}
    return [tensor for tensor in (*network.parameters(), *network.buffers()) if id(tensor) not in beside]


def _shape(tokens: Tensor, prepared: PreparedInputs, table: ModulationTable) -> object:
    parts = [tokens, *_tensors(prepared), table.last[0]]
    return (compute_options(), prepared.weights is None, *((part.shape, part.dtype) for part in parts))


def _tensors(prepared: PreparedInputs) -> list[Tensor]:
    weights = prepared.weights
    keys = [] if weights is None else [weights.query, weights.key]
    return [prepared.pe, prepared.txt, prepared.references, *keys]


def _row(table: ModulationTable, step: int) -> ModulationTable:
    """Cut out the vectors of one step, as a table of that step alone."""
    row = slice(step, step + 1)
    img, txt, single = ([vectors[row] for vectors in part] for part in (table.img, table.txt, table.single))
    return ModulationTable(img, txt, single, table.last[row])


def _cloned(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.clone() for tensor in tensors]


def _rows(table: ModulationTable) -> list[Tensor]:
    return [*table.img, *table.txt, *table.single, table.last]


def _fill(into: list[Tensor], tensors: list[Tensor]) -> None:
    for place, tensor in zip(into, tensors, strict=True):
        place.copy_(tensor)


_graphs: WeakKeyDictionary[Transformer, StepGraph] = WeakKeyDictionary()
