"""The border of the nodes: inputs match the schema, or are refused in one sentence."""

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from .conftest import picture
from .test_pack import IDS, INPUTS

Run = Callable[..., Any]
HUGE = 10**5000  # has more digits than Python would write
STRANGE = SimpleNamespace()

WRONG: dict[str, tuple[Any, ...]] = {
    "INT": (None, True, "5", "", 2.5, 2.0, float("nan"), float("inf"), 2**64, -(2**70), HUGE, -HUGE, [1], {}),
    "FLOAT": (
        None,
        False,
        "1",
        float("nan"),
        float("inf"),
        -float("inf"),
        1e30,
        -1e30,
        HUGE,
        1j,
        (1.0,),
        [1.0],
    ),
    "STRING": (None, 5, 2.5, True, b"text", ["text"], {}, torch.zeros(1)),
    "BOOLEAN": (None, "false", 0, 1, 1.0, [], torch.tensor(True)),
    "COMBO": (None, 5, True, ["auto"], {}, {"auto"}, b"auto", torch.zeros(2)),
}
ODD = (
    "text", "", 5, 0.5, True, b"bytes", [1, 2], (), {}, {"samples": 1}, {1: 2}, set(), STRANGE, print, type,
)  # fmt: skip
TENSORS = (
    torch.zeros(0),
    torch.zeros(3),
    torch.zeros(1, 8, 8, 3, dtype=torch.uint8),
    torch.zeros(1, 8, 8, 3) + 1j,
    torch.zeros(1, 8, 8, 3).to_sparse(),
    torch.zeros(1, 8, 8, 3, device="meta"),
    torch.zeros(1, 8, 8, 3).to(torch.float8_e4m3fn),
)


def inputs_of(node_list: list[Any]) -> Iterator[tuple[Any, Any]]:
    for node in node_list:
        for entry in node.GET_SCHEMA().inputs:
            yield node, entry


def entered(node: Any, **inputs: Any) -> Any:
    """The node as ComfyUI runs it."""
    return node.PREPARE_CLASS_CLONE({}).EXECUTE_NORMALIZED(**inputs)


def refused(node: Any, name: str, value: Any, *, parts: bool = True) -> str:
    """The sentence about a value.

    Args:
        parts: give a node that takes lists a list of it.
    """
    whole = [value] if parts and node.GET_SCHEMA().is_input_list else value
    with pytest.raises(ValueError, match=rf"^(the )?{name} ") as caught:
        entered(node, **{name: whole})
    said = str(caught.value)
    assert type(caught.value) is ValueError
    assert "\n" not in said
    assert len(said) < 500
    assert not re.search(r"object|attribute|argument|NoneType|<class|0x[0-9a-f]", said), said
    return said


@pytest.mark.parametrize("node_id", IDS)
def test_every_widget_of_every_node(node_list: list[Any], node_id: str) -> None:
    for node, entry in inputs_of(node_list):
        if node.GET_SCHEMA().node_id != node_id:
            continue
        for value in WRONG.get(str(entry.get_io_type()), ()):
            said = refused(node, entry.id, value)
            assert re.search(r"; (it must be|choose one of) ", said), said


@pytest.mark.parametrize("node_id", IDS)
def test_every_socket_of_every_node(node_list: list[Any], node_id: str) -> None:
    for node, entry in inputs_of(node_list):
        if node.GET_SCHEMA().node_id != node_id or str(entry.get_io_type()) in WRONG:
            continue
        for value in (*ODD, *TENSORS, *([] if entry.optional else [None])):
            empty = ("KONTEXT_REFERENCES", "CONDITIONING")  # none so far; no entries, which is said of itself
            if not (value == () and entry.get_io_type() in empty):
                refused(node, entry.id, value)


def test_every_input_has_its_check(node_list: list[Any], part: Callable[[str], Any]) -> None:
    """No node leaves the border out, and no type of input is unknown to it."""
    kinds = {str(entry.get_io_type()) for _, entry in inputs_of(node_list)}
    assert kinds == {*WRONG, *part("nodes.border").SOCKETS}
    for node in node_list:
        name = INPUTS[node.GET_SCHEMA().node_id][0]
        refused(node, name, STRANGE)


@pytest.mark.parametrize("end", ["min", "max"])
def test_ranges_are_the_schemas(node_list: list[Any], part: Callable[[str], Any], end: str) -> None:
    numbers = [
        (node, entry) for node, entry in inputs_of(node_list) if entry.get_io_type() in ("INT", "FLOAT")
    ]
    assert len(numbers) > 30
    for node, entry in numbers:
        inside, beyond = getattr(entry, end), 1 if end == "max" else -1
        made = part("nodes.border").checked(node, {entry.id: inside})[entry.id]
        assert made == inside
        assert type(made) is (int if entry.get_io_type() == "INT" else float)
        said = refused(node, entry.id, inside + beyond)
        low, high = (
            f"{bound:g}" if isinstance(bound, float) else str(bound) for bound in (entry.min, entry.max)
        )
        assert said.endswith(f"number from {low} to {high}")


def test_what_they_say(node_list: list[Any]) -> None:
    nodes = {node.GET_SCHEMA().node_id: node for node in node_list}
    edit, sampler, loader = (nodes[f"Kontext{name}"] for name in ("Edit", "Sampler", "LoadModel"))
    assert refused(edit, "seed", 2**64) == (
        "seed is 18446744073709551616; it must be a whole number from 0 to 18446744073709551615"
    )
    assert refused(edit, "steps", HUGE) == (
        "steps is a number of about 5000 digits; it must be a whole number from 1 to 1000"
    )
    assert refused(sampler, "shift", -1) == "shift is -1; it must be a number from 0 to 100"
    assert refused(loader, "speed", "x") == (
        "speed is 'x'; choose one of exact, compiled, graph, fp8, fp8 compiled"
    )
    assert refused(edit, "instruction", None) == "instruction is nothing; it must be text"
    assert refused(edit, "layout", "x" * 1000).startswith(f"layout is '{'x' * 60}' and so on; choose one of")
    assert refused(edit, "latent", {"samples": "x"}) == (
        "latent is a LATENT whose 'samples' are 'x'; it must be a LATENT, whose 'samples' are numbers "
        "(batch, channels, height, width)"
    )


def test_numbers_of_other_libraries_count(node_list: list[Any], part: Callable[[str], Any]) -> None:
    nodes = {node.GET_SCHEMA().node_id: node for node in node_list}
    given = {"steps": np.int64(3), "seed": np.uint64(2**64 - 1), "guidance": np.float32(2.5)}
    made = part("nodes.border").checked(nodes["KontextEdit"], given | {"approximate_number": Fraction(1, 2)})
    assert made == {"steps": 3, "seed": 2**64 - 1, "guidance": 2.5, "approximate_number": 0.5}
    assert [type(value) for value in made.values()] == [int, int, float, float]


def test_an_open_socket_may_hand_on_nothing(run: Run, model: Any) -> None:
    open_sockets = {name: None for name in ("latent", "references", "mask")}
    given = {"model": model, "image": picture(32, 48), "fit": "none", "steps": 1}
    assert torch.equal(run("KontextEdit", **given, **open_sockets)[0], run("KontextEdit", **given)[0])


def test_lists_of_the_grid(run: Run, node_list: list[Any]) -> None:
    grid = next(node for node in node_list if node.GET_SCHEMA().node_id == "KontextReferenceGrid")
    given = {"fit": ["crop"], "arrange": ["one reference each"]}
    assert len(entered(grid, **given, image_1=[picture(8, 8)], image_2=[None], references=[None])[0]) == 1
    with pytest.raises(ValueError, match="this grid needs a picture"):
        entered(grid, **given, image_1=[None], image_2=[])
    for wrong in ([picture(8, 8), None], [None, "x"]):
        with pytest.raises(ValueError, match=r"^image_1 is .*; it must be an IMAGE"):
            entered(grid, **given, image_1=wrong)
    with pytest.raises(ValueError, match=r"^fit is an empty list"):
        entered(grid, **(given | {"fit": []}), image_1=[picture(8, 8)])


def test_masks(run: Run, model: Any) -> None:
    """One picture's, a batch of one, and ComfyUI's noise_mask are one mask; nothing else
    with four axes is a mask.
    """
    mask = torch.zeros(128, 128)
    mask[:, 64:] = 1
    given = {"model": model, "image": picture(128, 128), "steps": 1, "feather": 0}
    first = run("KontextEdit", **given, mask=mask)[0]
    for form in (mask[None], mask[None, None], mask.bool(), mask.int()):
        assert torch.equal(run("KontextEdit", **given, mask=form)[0], first)
    start = {"samples": torch.zeros(1, 16, 16, 16)}
    prompt = run("KontextEncodePrompt", model=model, text="")[0]
    sampler = {"model": model, "prompt": prompt, "start": start, "steps": 1}
    for form in (
        mask[None, ..., None],
        mask.expand(1, 3, -1, -1),
        torch.zeros(1, 8, 8, 8, 8),
        torch.zeros(5),
    ):
        for node_id, inputs in (("KontextEdit", given), ("KontextSampler", sampler)):
            with pytest.raises(ValueError, match=r"^the mask \(.*\) must be \(batch, height, width\)"):
                run(node_id, **inputs, mask=form)
        with pytest.raises(ValueError, match=r"^the region mask \(.*\) must be \(batch, height, width\)"):
            run("KontextReference", image=picture(128, 128), region=form)
        with pytest.raises(ValueError, match=r"^the mask \(.*\) must be \(batch, height, width\)"):
            run("KontextSampler", **(sampler | {"start": start | {"noise_mask": form}}))
    with pytest.raises(ValueError, match=r"^mask is 'x'; it must be a MASK"):
        run("KontextSampler", **(sampler | {"start": start | {"noise_mask": "x"}}))


def test_a_latent_with_something_else_in_the_place_of_its_frame(run: Run, model: Any) -> None:
    latent = run("KontextEncode", model=model, image=picture(128, 128))[0]
    plain = run("KontextDecode", model=model, latent=latent)[0]
    assert torch.equal(run("KontextDecode", model=model, latent=latent | {"kontext_place": "x"})[0], plain)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pooled_output": torch.zeros(768)}, "has no text states with a pooled output"),
        ({"guidance": "x"}, "guidance of this CONDITIONING is 'x'; it must be a number"),
        ({"guidance": 10**400}, "guidance of this CONDITIONING is a number of about 400 digits; it must be"),
        ({"guidance": float("nan")}, "guidance of this CONDITIONING is nan; it must be a number"),
        (
            {"reference_latents": torch.zeros(2, 16, 8, 8)},
            "reference_latents of this CONDITIONING is a tensor",
        ),
        (
            {"reference_latents": ["x"]},
            "a reference of this CONDITIONING is a LATENT whose 'samples' are 'x'",
        ),
        ({"reference_latents_method": ["offset"]}, r"reference_latents_method is \['offset'\], which"),
    ],
)
def test_what_conditioning_may_hold(run: Run, change: dict[str, Any], said: str) -> None:
    values = {"pooled_output": torch.zeros(1, 768)} | change
    with pytest.raises(ValueError, match=said):
        run("KontextFromConditioning", conditioning=[[torch.zeros(1, 4, 4096), values]])


@pytest.mark.parametrize("wrong", [[], [[]], [[1]], [[1, 2]], [[1, {}, 3]], ["ab"], [None]])
def test_what_is_no_conditioning(run: Run, wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"(?i)conditioning"):
        run("KontextFromConditioning", conditioning=wrong)


def test_models_of_other_packs_are_known_by_what_they_can(run: Run, model: Any) -> None:
    strange = SimpleNamespace(model=SimpleNamespace())
    clip = SimpleNamespace(tokenize=None, encode_from_tokens_scheduled=None)
    with pytest.raises(ValueError, match=r"^vae is .*; it must be a VAE from Load VAE"):
        run("KontextFromComfyUI", model=strange, clip=clip, vae=model)  # which has encode and decode as well
    with pytest.raises(ValueError, match=r"^clip is 'x'; it must be a CLIP from DualCLIPLoader"):
        run("KontextFromComfyUI", model=strange, clip="x", vae="x")


def test_links_that_a_script_hands_on(node_list: list[Any]) -> None:
    """They are no values; a value in place of one is looked at."""
    script = next(node for node in node_list if node.GET_SCHEMA().node_id == "KontextScript")
    given = {"seed": 1, "seeds": "same", "steps": 1, "guidance": 2.5, "fit": "crop", "layout": "auto"}
    given |= {"anchor": False, "script": "make it red", "model": ["1", 0]}
    turns = list(entered(script, **given, image=["2", 0]).expand.values())
    assert turns[0]["inputs"]["image"] == ["2", 0]
    with pytest.raises(ValueError, match=r"^image is 'x'; it must be an IMAGE"):
        entered(script, **given, image="x")


def test_a_place_of_thousands_of_digits(run: Run) -> None:
    with pytest.raises(
        ValueError, match=r"^place is '9{60}' and so on; it must be empty, or three whole numbers"
    ) as caught:
        run("KontextReference", image=picture(8, 8), place=f"{'9' * 5000} 0 0")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_too_large_for_the_memory_is_one_sentence(
    run: Run, model: Any, part: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Also where it is only looked at."""

    def look(_: object) -> None:
        raise error

    monkeypatch.setattr(part("nodes.convert"), "check_image", look)
    with pytest.raises(RuntimeError, match=r"^there is too little memory for what came into this node; pass"):
        run("KontextEncode", model=model, image=picture(8, 8))
