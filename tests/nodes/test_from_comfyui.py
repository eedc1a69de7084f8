"""A ComfyUI model in our nodes: the same picture as with our own code, with ComfyUI's machinery around it."""

import re
from collections.abc import Callable
from dataclasses import make_dataclass
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.stock import Stock, stock_clip, stock_model, stock_vae
from tools.paths import ROOT

from .conftest import distance, picture, references, sampled

Run = Callable[..., Any]
TOLERANCE = 1e-5  # relative L2, float32


CASES: dict[str, dict[str, Any]] = {
    "words alone": {},
    "guidance": {"guidance": 4.0},
    "batch": {"batch": 3},
    "cfg": {"cfg": 3.0},
    "cfg in some steps": {"cfg": 3.0, "cfg_to": 0.5, "steps": 4},
    "cfg in some steps of heun": {"cfg": 3.0, "cfg_to": 0.5, "steps": 4, "solver": "heun"},
    "shift": {"shift": 3.0},
    "one step": {"steps": 1},
    "heun": {"solver": "heun"},
    "dpmpp_2m": {"solver": "dpmpp_2m", "steps": 5},
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_the_same_latents_from_words(run: Run, own: Any, hosted: Any, options: dict[str, Any]) -> None:
    assert distance(sampled(run, own, **options), sampled(run, hosted, **options)) <= TOLERANCE


@pytest.mark.parametrize("layout", ["offset", "index", "diagonal"])
@pytest.mark.parametrize("options", [{}, {"cfg": 3.0, "batch": 2}], ids=["plain", "cfg and batch"])
def test_the_same_latents_with_references(
    run: Run, own: Any, hosted: Any, layout: str, options: dict[str, Any]
) -> None:
    """Of different sizes, so that the layouts put every one of them elsewhere."""
    stack = references(run, (64, 96), (96, 32), (48, 64))
    given = {"references": stack, "layout": layout} | options
    ours = sampled(run, own, **given)
    assert distance(ours, sampled(run, hosted, **given)) <= TOLERANCE
    assert distance(ours, sampled(run, own, **options)) > 100 * TOLERANCE, "references are looked at"


def test_layouts_differ(run: Run, hosted: Any) -> None:
    stack = references(run, (64, 96), (96, 32), (48, 64))
    made = [sampled(run, hosted, references=stack, layout=one) for one in ("offset", "index", "diagonal")]
    assert min(distance(made[0], made[1]), distance(made[1], made[2])) > 100 * TOLERANCE


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("masked", [False, True])
def test_the_same_latents_from_a_start(
    run: Run, own: Any, hosted: Any, strength: float, masked: bool
) -> None:
    start = run("KontextEncode", model=own, image=picture(64, 96), fit="none")[0]
    mask = torch.zeros(1, 64, 96)
    mask[:, 16:48, 20:70] = 1
    given = {"start": start, "strength": strength, "mask": mask if masked else None, "steps": 4}
    assert distance(sampled(run, own, **given), sampled(run, hosted, **given)) <= TOLERANCE


def test_the_same_edit_from_a_picture(own: Any, hosted: Any) -> None:
    """A strength below 1 begins from the first reference here too."""
    options = {"fit": "none", "strength": 0.5, "steps": 4}
    edits = [editor.edit("make it red", [picture(64, 96)], **options) for editor in (own, hosted)]
    assert distance(edits[0].latents, edits[1].latents) <= TOLERANCE
    assert edits[1].settings["strength"] == 0.5


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_the_same_edit_inside_a_mask(own: Any, hosted: Any, strength: float) -> None:
    """The picture is rounded to 8 bits before it is encoded again.

    Where a value lies on the edge of two steps, two decoders that agree to 1e-6 may take either, and the
    latents of pictures that differ by one step differ by 1e-4. So the pictures may differ by a step where the
    value lies there, and each latent is what the other encoder makes of that same picture.
    """
    mask = torch.zeros(1, 64, 96)
    mask[:, 16:48, 20:70] = 1
    options = {"fit": "none", "strength": strength, "mask": mask, "steps": 4}
    ours, theirs = [editor.edit("make it red", [picture(64, 96)], **options) for editor in (own, hosted)]
    steps = 255 * (ours.image - theirs.image).abs()
    assert steps.max() <= 1 + 1e-3
    assert (steps > 0.5).float().mean() <= 1e-3  # of all values
    outside = mask[0] == 0
    assert torch.equal(ours.image[:, outside], theirs.image[:, outside])
    for edit, editor in ((ours, hosted), (theirs, own)):
        assert distance(edit.latents, editor.encode(edit.image)) <= TOLERANCE


def test_an_empty_latent_is_a_start_like_any_other(run: Run, own: Any, hosted: Any) -> None:
    """ComfyUI takes zeros for no picture at all and does not scale them; these are meant."""
    given = {"start": {"samples": torch.zeros(1, 16, 8, 12)}, "strength": 0.5, "steps": 4}
    assert distance(sampled(run, own, **given), sampled(run, hosted, **given)) <= TOLERANCE


def test_latents_and_pictures_are_interchangeable(run: Run, own: Any, hosted: Any) -> None:
    image = picture(64, 96)
    latents = [run("KontextEncode", model=one, image=image, fit="none")[0] for one in (own, hosted)]
    assert distance(latents[0]["samples"], latents[1]["samples"]) <= TOLERANCE
    pictures = [run("KontextDecode", model=one, latent=latents[0])[0] for one in (own, hosted)]
    torch.testing.assert_close(pictures[0], pictures[1], rtol=0, atol=1e-5)


def test_sizes_are_those_of_the_published_model(run: Run, hosted: Any) -> None:
    said = run("KontextReference", image=picture(512, 512), model=hosted).ui.as_dict()["text"][0]
    assert "1024 x 1024 px, 4096 tokens" in said
    assert hosted.target_size(None, None, []) == (1024, 1024)


def test_turns_and_branches(run: Run, own: Any, hosted: Any) -> None:
    """The whole lineage: anchor, alignment, a mask, more references."""
    fast = {"fit": "none", "steps": 2, "layout": "index"}
    mask = torch.zeros(1, 64, 96)
    mask[:, :, 48:] = 1
    stack = references(run, (32, 48))
    made = {}
    for name, one in (("own", own), ("hosted", hosted)):
        first = run("KontextTurn", model=one, image=picture(64, 96), instruction="a", mask=mask, **fast)[0]
        more = {"anchor": True, "align": True, "references": stack, "seed": 3}
        made[name] = run("KontextTurn", model=one, chain=first, instruction="b", **fast, **more)[0]
    for ours, theirs in zip(made["own"].turns, made["hosted"].turns, strict=True):
        # Pictures of a masked turn are rounded to 8 bit, where the last bit of float32
        # may tip one value over.
        tipped = int(((ours.image - theirs.image).abs() > 1e-4).sum())
        assert tipped <= 3
        assert tipped or distance(ours.latents, theirs.latents) <= TOLERANCE
        assert ours.settings == theirs.settings
    assert made["hosted"].last.settings["layout"] == "index"


def test_a_saved_chain_says_how_to_make_it_again(
    run: Run, part: Callable[[str], Any], hosted: Any, tmp_path: Any
) -> None:
    chain_file = part("kontext_core.chain")
    fast = {"fit": "none", "steps": 2, "seed": 9, "guidance": 3.5}
    made = run("KontextTurn", model=hosted, image=picture(64, 96), instruction="a", **fast)[0]
    chain_file.save_chain(made, tmp_path / "chain.png")
    loaded = chain_file.load_chain(tmp_path / "chain.png")
    last = loaded.last
    wanted = {name: last.settings[name] for name in ("fit", "steps", "guidance", "layout", "anchor", "align")}
    again = loaded.back_to(0).edit(hosted, last.instruction, seed=last.seed, **wanted)
    assert torch.equal(again.last.latents, made.last.latents)


def test_edit_in_one_box(run: Run, own: Any, hosted: Any) -> None:
    given = {"image": picture(40, 72), "fit": "none", "instruction": "a", "steps": 2}
    ours, theirs = (run("KontextEdit", model=one, **given)[0] for one in (own, hosted))
    assert ours.shape == theirs.shape == (1, 40, 72, 3)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_the_picture_of_a_seed_does_not_depend_on_what_ran_before(run: Run, hosted: Any) -> None:
    before = sampled(run, hosted)
    sampled(run, hosted, seed=6, cfg=2.0)
    assert torch.equal(sampled(run, hosted), before)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"strength": 0.5}, "a strength of 0.5"),
        ({"region": torch.ones(1, 64, 96)}, "a region"),
        ({"place": "1 0 64"}, "a place of its own"),
        ({"place": "1 0 64", "strength": 2.0}, "a strength of 2 and a place of its own"),
    ],
)
def test_what_comfyui_cannot_do_with_a_reference_is_said(
    run: Run, hosted: Any, options: dict[str, Any], said: str
) -> None:
    stack = references(run, (64, 96), **options)
    with pytest.raises(
        ValueError, match=f"picture 1 has {said}, which ComfyUI's own FLUX.1 does not support"
    ):
        sampled(run, hosted, references=stack)


def test_a_setting_without_a_place_here_is_refused(part: Callable[[str], Any], hosted: Any) -> None:
    """One more field: set, it is refused in one sentence; left alone, it changes nothing."""
    core, inputs = part("kontext_core.edit_settings"), part("kontext_core.sampling.inputs")
    field = core._setting(0.0, core.Allowed(0, 1))
    wider = make_dataclass(
        "Wider", [("sharpness", float, field)], bases=(core.EditSettings,), frozen=True, kw_only=True
    )
    noise = torch.randn(1, 16, 8, 12, generator=torch.Generator().manual_seed(0))
    known = inputs.SampleInputs(noise=noise, text=hosted.encode_prompt("a"))
    expected = hosted.denoise(known, [1.0, 0.0], core.EditSettings())
    assert torch.equal(hosted.denoise(known, [1.0, 0.0], wider()), expected)
    sentence = (
        r"^sharpness is 0\.5, which a model from ComfyUI's loaders does not support: set it to 0\.0, or use"
    )
    with pytest.raises(ValueError, match=sentence):
        hosted.denoise(known, [1.0, 0.0], wider(sharpness=0.5))


def test_every_setting_has_a_place_or_is_refused(part: Callable[[str], Any]) -> None:
    module, core = part("nodes.comfy_editor"), part("kontext_core.edit_settings")
    refused = {"approximate", "nag_scale"}
    assert sorted((*module.CARRIED_OUT, *module.BEFORE_OR_AFTER, *refused)) == sorted(core.ALLOWED)
    source = (ROOT / "nodes" / "comfy_editor.py").read_text(encoding="utf-8")
    read = set(re.findall(r"\bsettings\.(\w+)", source)) & core.ALLOWED.keys()
    assert read == set(module.CARRIED_OUT), "what is carried out is read"


@pytest.mark.parametrize("method", ["encode_prompt", "encode", "decode", "denoise"])
def test_one_thread_at_a_time_is_in_comfyui(part: Callable[[str], Any], hosted: Any, method: str) -> None:
    """Another waits: to encode and decode only for the next callback, to denoise for the end."""
    core, inputs = part("kontext_core.edit_settings"), part("kontext_core.sampling.inputs")
    noise = torch.randn(1, 16, 8, 12, generator=torch.Generator().manual_seed(0))
    known = inputs.SampleInputs(noise=noise, text=hosted.encode_prompt("a"))
    works: dict[str, Callable[[], Any]] = {
        "encode_prompt": lambda: hosted.encode_prompt("other words")[0],
        "encode": lambda: hosted.encode(picture(64, 96)),
        "decode": lambda: hosted.decode(noise),
        "denoise": lambda: hosted.denoise(known, [1.0, 0.5, 0.0], core.EditSettings()),
    }
    answers: list[Tensor] = []

    def ask() -> Thread:
        thread = Thread(target=lambda: answers.append(works[method]()), daemon=True)
        thread.start()
        return thread

    with torch.inference_mode():
        expected = works[method]()
    with part("nodes.comfy_editor").IN_COMFYUI:
        thread = ask()
        thread.join(0.2)
        assert thread.is_alive()
    thread.join(60)
    alone = works["denoise"]()
    threads: list[tuple[Thread, bool]] = []

    def callback(*_: object) -> None:
        thread = ask()
        thread.join(60 if method != "denoise" else 0.2)
        threads.append((thread, thread.is_alive()))

    around = hosted.denoise(known, [1.0, 0.5, 0.0], core.EditSettings(), callback)
    assert torch.equal(around, alone)
    assert [waits for _, waits in threads] == [method == "denoise"] * 2
    for thread, _ in threads:
        thread.join(60)
    assert len(answers) == 3
    assert all(torch.equal(answer, expected) for answer in answers)


def test_an_edit_inside_a_callback_of_comfyui_s_model_is_refused(
    part: Callable[[str], Any], hosted: Any
) -> None:
    core, inputs = part("kontext_core.edit_settings"), part("kontext_core.sampling.inputs")
    noise = torch.randn(1, 16, 8, 12, generator=torch.Generator().manual_seed(0))
    known = inputs.SampleInputs(noise=noise, text=hosted.encode_prompt("a"))
    with pytest.raises(ValueError, match=r"^a callback cannot run further edits with the model"):
        hosted.denoise(
            known,
            [1.0, 0.0],
            core.EditSettings(),
            lambda *_: hosted.denoise(known, [1.0, 0.0], core.EditSettings()),
        )
    assert hosted.denoise(known, [1.0, 0.0], core.EditSettings()).isfinite().all()


def test_a_reference_of_strength_0_is_left_out(run: Run, hosted: Any) -> None:
    stack = references(run, (64, 96), strength=0.0)
    assert torch.equal(sampled(run, hosted, references=stack), sampled(run, hosted))


def test_lora_of_stock_nodes_counts_and_leaves_the_model_alone(
    run: Run, part: Callable[[str], Any], own: Any, stock: Stock, hosted: Any
) -> None:
    before = sampled(run, hosted)
    key = "diffusion_model.double_blocks.0.img_attn.qkv.weight"
    change = torch.randn(384, 128, generator=torch.Generator().manual_seed(1)) * 0.1
    patched = stock.model.clone()
    patched.add_patches({key: ("diff", (change,))}, 0.5)
    node = run("KontextFromComfyUI", **stock._replace(model=patched)._asdict())
    assert "weights changed by LoRA: 1" in node.ui.as_dict()["text"][0]
    theirs = sampled(run, node[0])
    assert distance(before, theirs) > 100 * TOLERANCE
    weight = own.transformer.double_blocks[0].img_attn.qkv.weight
    with torch.no_grad():
        weight += 0.5 * change
    try:
        assert distance(sampled(run, own), theirs) <= TOLERANCE
    finally:
        with torch.no_grad():
            weight -= 0.5 * change
    assert torch.equal(sampled(run, hosted), before)


def test_shift_of_the_models_own_is_said_not_to_count(run: Run, stock: Stock) -> None:
    import comfy.model_sampling

    shifted = stock.model.clone()
    shifted.add_object_patch("model_sampling", comfy.model_sampling.ModelSamplingFlux())
    said = run("KontextFromComfyUI", **stock._replace(model=shifted)._asdict()).ui.as_dict()["text"][0]
    assert "its own shift is ignored: set shift in Kontext Sampler, Edit, Turn or Script" in said
    plain = run("KontextFromComfyUI", **stock._asdict()).ui.as_dict()["text"][0]
    assert plain == "FLUX.1 in float32, run by ComfyUI"


def test_patches_of_comfyui_run(run: Run, stock: Stock) -> None:
    """One of its hooks around the whole network is asked once a step."""
    asked: list[tuple[int, ...]] = []

    def wrapper(apply: Any, given: dict[str, Any]) -> Tensor:
        asked.append(tuple(given["input"].shape))
        return apply(given["input"], given["timestep"], **given["c"])

    patched = stock.model.clone()
    patched.set_model_unet_function_wrapper(wrapper)
    sampled(run, run("KontextFromComfyUI", **stock._replace(model=patched)._asdict())[0])
    assert asked == [(1, 16, 8, 12)] * 3


def test_progress_and_stop_button(run: Run, hosted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import comfy.model_management as management
    import comfy.utils

    seen: list[tuple[int, Any]] = []

    def press(_bar: Any, value: int, _total: int, preview: Any) -> None:
        seen.append((value, preview))
        if value == 2:
            management.interrupt_current_processing()

    monkeypatch.setattr(comfy.utils.ProgressBar, "update_absolute", press)
    with pytest.raises(management.InterruptProcessingException):
        sampled(run, hosted, steps=20)
    assert [value for value, _ in seen] == [1, 2]
    assert seen[0][1][1].size == (12, 8), "a pixel a latent"
    monkeypatch.undo()
    assert sampled(run, hosted, steps=1).isfinite().all()


def test_words_are_read_once(run: Run, own: Any, stock: Stock, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    hosted = run("KontextFromComfyUI", **stock._asdict())[0]
    encode = stock.clip.encode_from_tokens_scheduled
    monkeypatch.setattr(
        stock.clip,
        "encode_from_tokens_scheduled",
        lambda tokens: asked.append(tokens["l"]) or encode(tokens),
    )
    for _ in range(2):
        sampled(run, hosted, steps=1, cfg=2.0)
    assert asked == ["make the circle red", "blue"]


def test_other_models_are_refused(run: Run, stock: Stock, own: Any) -> None:
    import comfy.model_base

    sdxl = SimpleNamespace(model=SimpleNamespace())
    with pytest.raises(ValueError, match=r"a SimpleNamespace, but FLUX\.1 is needed"):
        run("KontextFromComfyUI", **stock._replace(model=sdxl)._asdict())
    chroma = SimpleNamespace(model=object.__new__(comfy.model_base.Chroma))
    with pytest.raises(ValueError, match=r"a Chroma, but FLUX\.1 is needed"):
        run("KontextFromComfyUI", **stock._replace(model=chroma)._asdict())
    future = type("ModelOfTheFuture", (comfy.model_base.Flux,), {"__module__": "comfy.model_base"})
    for kind in (future, type("Wrapped", (future,), {})):
        derived = SimpleNamespace(model=object.__new__(kind))
        with pytest.raises(ValueError, match=rf"a {kind.__name__}, but FLUX\.1 is needed"):
            run("KontextFromComfyUI", **stock._replace(model=derived)._asdict())
    wrapped = stock_model(own)
    wrapped.model.__class__ = type("FluxOfAnotherPack", (comfy.model_base.Flux,), {})
    assert run("KontextFromComfyUI", **stock._replace(model=wrapped)._asdict())[0].model is wrapped
    fill = SimpleNamespace(model=stock_model(own).model)
    fill.model.model_config.unet_config["in_channels"] = 96
    with pytest.raises(ValueError, match="takes 96 channels, as Fill, Depth and Canny do"):
        run("KontextFromComfyUI", **stock._replace(model=fill)._asdict())


def test_other_autoencoders_are_refused(run: Run, stock: Stock, own: Any) -> None:
    vae = stock_vae(own.vae)
    vae.latent_channels = 4
    with pytest.raises(ValueError, match=r"this VAE makes 4 channels, but FLUX\.1 works with 16"):
        run("KontextFromComfyUI", **stock._replace(vae=vae)._asdict())


def test_text_encoders_of_another_model_are_refused(run: Run, stock: Stock) -> None:
    encoders = SimpleNamespace(encode=lambda _: (torch.zeros(1, 77, 2048), torch.zeros(1, 1280)))
    clip = stock_clip(None)
    clip.cond_stage_model.encode_token_weights = encoders.encode
    hosted = run("KontextFromComfyUI", **stock._replace(clip=clip)._asdict())[0]
    with pytest.raises(
        ValueError, match="states of 2048 numbers and a vector of 1280, but this model takes 128"
    ):
        sampled(run, hosted)


def test_network_code_of_other_packs_is_trusted_with_offset_only(run: Run, stock: Stock, own: Any) -> None:
    class Foreign(torch.nn.Module):
        """Passes its work on to ComfyUI's, and might have passed over the layout."""

        def __init__(self, network: Any) -> None:
            super().__init__()
            self.network, self.dtype = network, network.dtype

        def forward(self, *args: Any, **options: Any) -> Any:
            return self.network(*args, **options)

    model = stock_model(own)
    model.model.diffusion_model = Foreign(model.model.diffusion_model)
    hosted = run("KontextFromComfyUI", **stock._replace(model=model)._asdict())[0]
    stack = references(run, (64, 96), (96, 32))
    ours = sampled(run, own, references=stack)
    assert distance(ours, sampled(run, hosted, references=stack)) <= TOLERANCE
    for layout in ("index", "diagonal"):
        with pytest.raises(ValueError, match=f"layout is '{layout}', but this MODEL is run by Foreign"):
            sampled(run, hosted, references=stack, layout=layout)
    # One alone is the same in both.
    sampled(run, hosted, references=references(run, (64, 96)), layout="index")
