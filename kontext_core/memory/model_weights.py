"""Where a model's weights are: those that stay on the device, those that visit it, and LoRAs' upon them."""

from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager, nullcontext
from typing import Literal, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..model.model_lock import ModelLock, lock_of
from ..model.text import TextEncoders
from ..model.transformer import Transformer
from ..model.vae import VAE
from ..sampling.cuda_graph import release_graphs
from .free_memory import free_bytes
from .offload_plan import HostStorage, OffloadedModel, OffloadPlan
from .tensor_data import move_to, tensors_of


class View(Protocol):
    """A model with LoRAs upon it, which shares the weights that they do not change."""

    @property
    def networks(self) -> Sequence[Transformer]: ...
    @property
    def text(self) -> TextEncoders: ...


class ModelWeights:
    """The weights of a model, on their way between host and device, and the lock that their users hold.

    Args:
        transformer: on the CPU where weights are to visit the device, else on the device; so are the other
            parts.
        vae: of the model.
        text: of the model.
        device: where the model computes.
        memory_gib: most that the device is to hold, see `OffloadedModel`; None: all weights stay there.
        waiting: where weights wait that visit.
        form: in words, how the form of the weights was chosen; "" where it was asked for.
    Raises: TooLittleMemoryError; ValueError if memory_gib is no amount.
    """

    def __init__(
        self,
        transformer: Transformer,
        vae: VAE,
        text: TextEncoders,
        device: torch.device,
        *,
        memory_gib: float | Literal["least"] | None = None,
        waiting: HostStorage = HostStorage(),  # noqa: B008 (it is frozen)
        form: str = "",
    ) -> None:
        self.device = device
        self._transformer, self._vae, self._text = transformer, vae, text
        self._form = form
        self._offloaded: OffloadedModel | None = None
        if memory_gib is not None:
            self._offloaded = OffloadedModel(transformer, vae, text, device, memory_gib, waiting)
        # what LoRAs have put upon the model, of those that are in use somewhere
        self._views: WeakKeyDictionary[View, list[Tensor]] = WeakKeyDictionary()
        self._counting = ModelLock()  # of `_views`, which others count while an edit is under way
        self._own: tuple[object, list[Tensor]] | None = None  # see `staying`

    @property
    def lock(self) -> ModelLock:
        """The lock of the transformer: one for all that share it, such as copies with LoRAs."""
        return lock_of(self._transformer)

    @property
    def plan(self) -> OffloadPlan | None:
        """Which weights visit the device; None where that was not asked, and all of them stay."""
        return self._offloaded.where if self._offloaded else None

    def describe(self) -> str:
        """One line on the form of the weights and where they are; "" where all is as it was asked for."""
        where = self.plan
        return "; ".join(text for text in (self._form, where.describe() if where else "") if text)

    @contextmanager
    def in_use(self) -> Generator[None]:
        """Hold the model for this thread. At the end, the memory that visiting weights took is given back."""
        with self.lock, nullcontext() if self._offloaded is None else closing(self._offloaded):
            yield

    def add(self, view: View) -> None:
        """Count what a view has put upon the model, as long as the view is there. Its maker holds the lock.

        Raises: TooLittleMemoryError if that is too much whatever visits.
        """
        own = {id(tensor) for part in (self._transformer, self._text) for tensor in tensors_of(part)}
        parts: tuple[nn.Module, ...] = (view.text, *view.networks)
        added = [tensor for part in parts for tensor in tensors_of(part) if id(tensor) not in own]
        with self._counting:
            self._views[view] = added
        if self._offloaded is not None:
            self._offloaded.make_room(sum(tensor.nbytes for tensor in self._added()))

    @property
    def resident_bytes(self) -> int:
        """What the device holds for the model and all its LoRAs, between edits."""
        return sum(tensor.nbytes for tensor in self.staying())

    def to_host(self) -> None:
        """Move all weights to the host's memory, and let go of recorded steps, when no edit is under way."""
        with self.lock.idle():
            if self._offloaded is not None:
                self._offloaded.close()
            with self._counting:
                views = list(self._views)
            release_graphs(self._transformer, *(network for view in views for network in view.networks))
            move_to(self.staying(), torch.device("cpu"))

    def to_device(self) -> None:
        """Move the weights back to the device, but for those that visit it."""
        with self.lock:
            move_to(self.staying(), self.device)

    def staying(self) -> list[Tensor]:
        """Weights that do not visit, and what LoRAs have put beside them."""
        offloaded = self._offloaded
        visitors = offloaded and offloaded.where.visitors
        if self._own is None or self._own[0] != visitors:
            packets = [] if offloaded is None else offloaded.packets
            visiting = {id(tensor) for packet in packets for tensor in packet.tensors}
            parts = (self._transformer, self._vae, self._text)
            tensors = [tensor for part in parts for tensor in tensors_of(part)]
            self._own = visitors, [tensor for tensor in tensors if id(tensor) not in visiting]
        return [*self._own[1], *self._added()]

    def work_budget(self) -> int | None:
        """Bytes that are left for work: of those that are free, what the user lets the model take."""
        free = free_bytes(self._vae.decoder.conv_in.weight.device)
        budget = None if self._offloaded is None else self._offloaded.budget
        allowed = None if budget is None else max(0, budget - self.resident_bytes)
        return min((limit for limit in (free, allowed) if limit is not None), default=None)

    def _added(self) -> list[Tensor]:
        """What LoRAs have put upon the model, each tensor once."""
        with self._counting:
            views = list(self._views.values())
        return list({id(tensor): tensor for tensors in views for tensor in tensors}.values())
