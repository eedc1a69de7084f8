"""FLUX.1 Kontext as loaded by ComfyUI, with the interface of our own editor.

The network and its memory management are ComfyUI's, the steps are ours.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any
from weakref import WeakSet

import comfy.ldm.flux.model as flux  # pyright: ignore[reportMissingImports]
import comfy.model_base as model_base  # pyright: ignore[reportMissingImports]
import comfy.sample  # pyright: ignore[reportMissingImports]
import comfy.samplers  # pyright: ignore[reportMissingImports]
import latent_preview  # pyright: ignore[reportMissingImports]
import torch
from PIL import Image
from torch import Tensor

from ..kontext_core.checks.shorten import short
from ..kontext_core.config import FLUX_VAE, PREFERRED_SIZES, Layout, VAEConfig
from ..kontext_core.edit_settings import SHORT_NAMES, EditSettings, clean_prompt
from ..kontext_core.editor import Editor
from ..kontext_core.errors import explain_oom
from ..kontext_core.model.model_lock import ModelLock
from ..kontext_core.sampling.denoise import descend, last_levels
from ..kontext_core.sampling.guidance import cfg_steps
from ..kontext_core.sampling.inputs import Callback, SampleInputs, Text, check_inputs, check_text
from .conditioning import plain, read, write

_PROMPTS_KEPT = 16

# One thread at a time: the list of loaded models is there once, for all of ComfyUI's models. What is in the
# middle of its steps, waiting for a callback, cannot begin others: ComfyUI keeps their state at the model.
IN_COMFYUI = ModelLock()
_sampling: WeakSet[Any] = WeakSet()

# Settings that `HostedEditor.denoise` carries out, and those that `Editor` itself sees to. Any other one that
# is set is refused: a new setting is not ignored here before it has its place in one of these.
CARRIED_OUT = ("guidance", "cfg_scale", "cfg_to", "strength", "solver", "layout")
BEFORE_OR_AFTER = (
    *("steps", "mu", "seed", "batch", "width_px", "height_px"),  # noise levels and noise
    *("fit", "negative_prompt", "feather_px", "keep_outside", "size", "detail"),
)


class HostedEditor(Editor):
    """An editor for a MODEL, CLIP and VAE from ComfyUI's loaders and LoRA nodes. None of them is altered.

    Threads may share it: one is in ComfyUI's code at a time, and the others wait. A callback may have the
    model encode and decode, but not denoise, nor wait for another thread that does.

    Raises: ValueError in one sentence if they are not those of FLUX.1.
    """

    def __init__(self, model: Any, clip: Any, vae: Any) -> None:
        super().__init__()
        _check_model(model)
        _check_vae(vae)
        self.model = model
        self.clip = clip
        self.vae = vae
        self._prompts: OrderedDict[str, Text] = OrderedDict()

    @property
    def preferred_sizes(self) -> tuple[tuple[int, int], ...]:
        return PREFERRED_SIZES

    @property
    def layout(self) -> Layout:
        return "offset"

    @property
    def vae_config(self) -> VAEConfig:
        known = self._format
        return replace(FLUX_VAE, scale_factor=known.scale_factor, shift_factor=known.shift_factor)

    @property
    def _format(self) -> Any:
        return self.model.model.latent_format

    def describe(self) -> list[str]:
        """List what the model is and what of it is ignored here, one item per line."""
        lines = [f"FLUX.1 in {str(self.model.model_dtype()).removeprefix('torch.')}, run by ComfyUI"]
        if self.model.patches:
            lines.append(f"weights changed by LoRA: {len(self.model.patches)}")
        if "model_sampling" in self.model.object_patches:
            lines.append("its own shift is ignored: set shift in Kontext Sampler, Edit, Turn or Script")
        if "denoise_mask_function" in self.model.model_options:
            lines.append("Differential Diffusion is ignored: masks here are feathered")
        return lines

    def encode_prompt(self, prompt: str) -> Text:
        prompt = clean_prompt(prompt)
        with IN_COMFYUI:
            if prompt not in self._prompts:
                with explain_oom("the text encoders", "choose smaller ones"):
                    words = read(self.clip.encode_from_tokens_scheduled(self.clip.tokenize(prompt)))
                self._prompts[prompt] = words.text
            self._prompts.move_to_end(prompt)
            while len(self._prompts) > _PROMPTS_KEPT:
                self._prompts.popitem(last=False)
            return self._prompts[prompt]

    @torch.no_grad()
    def encode(self, image: Tensor) -> Tensor:
        with (
            IN_COMFYUI,
            explain_oom(f"encoding {image.shape[2]} x {image.shape[1]} px", "use a smaller picture"),
        ):
            return self._format.process_in(self.vae.encode(image).float())

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        size = f"{latents.shape[-1] * 8} x {latents.shape[-2] * 8} px"
        with IN_COMFYUI, explain_oom(f"decoding {size}", "use a smaller picture"):
            image = self.vae.decode(self._format.process_out(latents.float()))
            return image.float().clamp(0, 1).cpu().contiguous()

    def thumbnail(self, latents: Tensor) -> Image.Image | None:
        previewer = latent_preview.get_previewer(self.model.load_device, self._format)
        return None if previewer is None else previewer.decode_latent_to_preview(latents[:1])

    @torch.no_grad()
    def denoise(
        self,
        inputs: SampleInputs,
        sigmas: Sequence[float],
        settings: EditSettings,
        callback: Callback | None = None,
    ) -> Tensor:
        """Sample with comfy.sample, as `denoise.denoise_with` does.

        Raises: ValueError also for references, layouts and approximations that this network does not support.
        """
        _check_settings(settings)
        check_inputs(inputs, sigmas, settings)
        noise, start, layout = inputs.noise, inputs.start, settings.layout or self.layout
        texts = [inputs.text] if inputs.negative is None else [inputs.text, inputs.negative]
        if (widths := self._widths()) is not None:
            for text in texts:
                check_text(text, widths)
        shown = [self._format.process_out(latents.float().cpu()) for latents in plain(inputs.references)]
        self._check_layout(layout, len(shown))
        levels = last_levels(sigmas, settings.strength)
        if len(levels) == 1:  # not a single step
            return (noise if start is None else start).float().cpu().expand_as(noise).clone()
        conditioned = [write(text, shown, guidance=settings.guidance, layout=layout) for text in texts]
        guided = cfg_steps(len(levels) - 1, settings.cfg_to, len(levels))
        steps = _Steps(levels, start, inputs.mask, settings.solver, callback, settings.cfg_scale, guided)
        with IN_COMFYUI.idle(), self._in_its_steps():
            denoised = comfy.sample.sample_custom(
                self.model,
                noise,
                settings.cfg_scale,
                steps,
                torch.tensor(levels),
                conditioned[0],
                conditioned[-1],
                torch.zeros_like(noise),  # the start is for `steps` alone
                disable_pbar=True,
            )
        return self._format.process_in(denoised.float())

    @contextmanager
    def _in_its_steps(self) -> Generator[None]:
        """Note that the model samples. Raises: ValueError if it does so already, around this callback."""
        network = self.model.model
        if network in _sampling:
            raise ValueError(
                "a callback cannot run further edits with the model that it is called by: ComfyUI runs one at a "
                "time; let the first edit end"
            )
        _sampling.add(network)
        try:
            yield
        finally:
            _sampling.discard(network)

    def _widths(self) -> tuple[int, int] | None:
        """Return the widths of T5's states and CLIP's vector; None if another pack's loader gives none."""
        config = self.model.model.model_config.unet_config
        known = "context_in_dim" in config and "vec_in_dim" in config
        return (config["context_in_dim"], config["vec_in_dim"]) if known else None

    def _check_layout(self, layout: Layout, count: int) -> None:
        """Check a layout: network code of other packs may support 'offset' only and ignore any other."""
        network = type(self.model.model.diffusion_model)
        same = count == 0 or layout == "offset" or (layout == "index" and count == 1)
        if not issubclass(network, flux.Flux) and not same:
            raise ValueError(
                f"layout is {layout!r}, but this MODEL is run by {network.__name__} from another node pack, "
                "which may support 'offset' only: choose that, or load the model with ComfyUI's own loader"
            )


@dataclass(eq=False)
class _Steps(comfy.samplers.Sampler):  # pyright: ignore[reportUntypedBaseClass]
    """A SAMPLER that takes our steps along the velocity of ComfyUI's model."""

    levels: list[float]
    start: Tensor | None
    mask: Tensor | None
    solver: str
    callback: Callback | None
    cfg_scale: float
    cfg_steps: int  # the first ones, in which cfg acts

    def sample(
        self,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Any,
        noise: Tensor,
        latent_image: Tensor | None = None,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        """Sample, with ComfyUI's signature; all but model, options and noise is known already."""

        def velocity(latents: Tensor, step: int) -> Tensor:
            sigma = self.levels[step]
            model_wrap.set_cfg(self.cfg_scale if step < self.cfg_steps else 1.0)
            clean = model_wrap(latents, latents.new_full((latents.shape[0],), sigma), **extra_args)
            return (latents - clean) / sigma

        def report(step: int, steps: int, clean: Tensor) -> None:
            if self.callback is not None:
                with IN_COMFYUI.lent():
                    self.callback(step, steps, clean)

        start = None if self.start is None else self.start.to(noise).expand_as(noise)
        keep = None if self.mask is None else 1 - self.mask.to(noise).expand_as(noise)
        return descend(
            velocity,
            noise,
            self.levels,
            start=start,
            keep=keep,
            solver=self.solver,
            callback=report,
        )


def _check_settings(settings: EditSettings) -> None:
    """Refuse any setting that is neither read here nor done with elsewhere. Raises: ValueError."""
    usual = {setting.name: setting.default for setting in fields(settings)}
    for name, value in settings.to_json().items():
        if name not in (*CARRIED_OUT, *BEFORE_OR_AFTER):
            raise ValueError(
                f"{SHORT_NAMES.get(name, name)} is {short(value)}, which a model from ComfyUI's loaders does not support: set it to "
                f"{'off' if usual[name] is None else usual[name]!r}, or use a model from "
                "Kontext Load Model"
            )


def _check_model(model: Any) -> None:
    base = model.model
    if not isinstance(base, model_base.Flux) or any(_is_another_flux(kind) for kind in type(base).__mro__):
        raise ValueError(
            f"this MODEL is a {type(base).__name__}, but FLUX.1 is needed: load FLUX.1 Kontext with Load "
            "Diffusion Model or a similar loader"
        )
    channels = base.model_config.unet_config.get("in_channels", FLUX_VAE.z_channels)
    if channels != FLUX_VAE.z_channels:
        raise ValueError(
            f"this FLUX.1 takes {channels} channels, as Fill, Depth and Canny do, but Kontext takes "
            f"{FLUX_VAE.z_channels}: load FLUX.1 Kontext"
        )


def _is_another_flux(kind: type) -> bool:
    """Tell whether a class is one that ComfyUI itself derives from FLUX.1 for another model.

    There are ever more of them: Chroma, FLUX.2, LongCat. Classes of other packs run FLUX.1.
    """
    own = kind.__module__ == model_base.__name__
    return own and issubclass(kind, model_base.Flux) and kind is not model_base.Flux


def _check_vae(vae: Any) -> None:
    channels = getattr(vae, "latent_channels", FLUX_VAE.z_channels)
    if channels != FLUX_VAE.z_channels:
        raise ValueError(
            f"this VAE makes {channels} channels, but FLUX.1 works with {FLUX_VAE.z_channels}: load the "
            "autoencoder of FLUX.1 (ae.safetensors)"
        )
