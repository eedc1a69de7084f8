"""The data that comes with the tensors: alpha and rank by patterns, and damaged or hostile values."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file
from torch import Tensor

from kontext_core.errors import CheckpointError
from kontext_core.lora import Lora
from kontext_core.lora.patterns import NamePattern
from kontext_core.lora.peft_config import read_configs
from kontext_core.model.transformer import Transformer

from .conftest import attached, drawn, viewed

D = 32
MODULES = ("transformer_blocks.0.attn.to_q", "transformer_blocks.1.attn.to_k")
Close = Callable[..., float]


def folder(path: Path, config: Any, prefix: str = "base_model.model.") -> Path:
    """A folder as PEFT writes it, of rank 4.

    Args:
        config: a text is written as it is.
    """
    path.mkdir(exist_ok=True)
    save_file(tensors_of(prefix), path / "adapter_model.safetensors")
    text = config if isinstance(config, str) else json.dumps(config)
    (path / "adapter_config.json").write_text(text, encoding="utf-8")
    return path


def tensors_of(prefix: str) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for seed, name in enumerate(MODULES):
        tensors[f"{prefix}{name}.lora_A.weight"] = drawn(4, D, seed=seed)
        tensors[f"{prefix}{name}.lora_B.weight"] = drawn(D, 4, seed=seed + 10)
    return tensors


def scales(transformer: Transformer, path: Path) -> list[float]:
    """Of the two modules."""
    made = viewed(transformer, Lora(path))
    return [block.img_attn.qkv.changes[0].scale for block in made.double_blocks]


@pytest.mark.parametrize("prefix", ["base_model.model.", "transformer.", "_orig_mod."])
@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"r": 4, "lora_alpha": 8}, [2, 2]),
        ({"r": 4, "lora_alpha": 8, "use_rslora": True}, [4, 4]),
        ({"r": 4, "lora_alpha": 8, "alpha_pattern": None, "rank_pattern": {}}, [2, 2]),
        ({"r": 4, "lora_alpha": 8, "alpha_pattern": {"to_k": 4}}, [2, 1]),
        ({"r": 4, "lora_alpha": 8, "alpha_pattern": {"o_k": 4, "attn": 12, "x.attn.to_k": 16}}, [2, 2]),
        (
            {
                "r": 4,
                "lora_alpha": 8,
                "alpha_pattern": {r"attn\.to_[qk]": 4, "transformer_blocks.1.attn.to_k": 16},
            },
            [1, 1],
        ),
        ({"r": 4, "lora_alpha": 8, "alpha_pattern": {r".*\.0\..*": 4, "attn.*": 12}}, [1, 3]),
        ({"r": 9, "lora_alpha": 8, "rank_pattern": {"to_k": 4}}, [2, 2]),  # the tensors know better
        ({"r": 4}, [1, 1]),
    ],
)
def test_the_first_pattern_that_fits_counts(
    transformer: Transformer, tmp_path: Path, config: dict[str, Any], expected: list[float], prefix: str
) -> None:
    assert scales(transformer, folder(tmp_path / "lora", config, prefix)) == expected


def test_a_pattern_for_a_whole_name(transformer: Transformer, tmp_path: Path) -> None:
    """As diffusers writes them: from the beginning of a module's path in the model."""
    config = {"r": 4, "lora_alpha": 8, "alpha_pattern": {f"^{MODULES[1]}": 4, "^attn.to_q": 16}}
    assert scales(transformer, folder(tmp_path / "lora", config)) == [2, 1]


def test_nobody_can_drive_up_the_time(transformer: Transformer, tmp_path: Path) -> None:
    """Expressions for which `re` would never end."""
    evil = {"(a+)+x": 1, r"((\w|\.)*)*x": 2, "(.*)*(.*)*(.*)*x": 3, "(a|a|.)*x": 4, "([a-z.]+)*[0-9]x": 5}
    config = {"r": 4, "lora_alpha": 8, "alpha_pattern": evil}
    assert scales(transformer, folder(tmp_path / "lora", config)) == [2, 2]
    assert not any(NamePattern(text).fits("a." * 100) for text in evil)


BAD: dict[str, tuple[Any, str]] = {
    "no expression": (
        {"alpha_pattern": {"(": 1}},
        "alpha_pattern has the pattern '(', and it is not a regular expression: ",
    ),
    "no balance": ({"alpha_pattern": {"a)(b": 1}}, "and it is not a regular expression: "),
    "looks ahead": (
        {"rank_pattern": {"(?=a)b": 1}},
        "rank_pattern has the pattern '(?=a)b', and '(?=a' is not read here",
    ),
    "looks behind": ({"rank_pattern": {"(?<=a)b": 1}}, "and '(?<=' is not read here"),
    "flags": ({"rank_pattern": {"(?i)a": 1}}, "and '(?i)' is not read here"),
    "refers back": ({"rank_pattern": {r"(a)\1": 1}}, r"and '\\1' is not read here"),
    "gives nothing back": ({"rank_pattern": {"a*+": 1}}, "and it repeats without giving back"),
    "repeats": ({"alpha_pattern": {"((a{99}){99}){99}": 1}}, "and it repeats too much"),
    "is long": ({"alpha_pattern": {"a" * 2001: 1}}, "and it has 2,001 letters, but 2,000 is the maximum"),
    "is deep": (
        {"alpha_pattern": {"(" * 41 + "a" + ")" * 41: 1}},
        "and it has more than 40 groups in each other",
    ),
    "too many": (
        {"alpha_pattern": {f"a+{i}": 1 for i in range(257)}},
        "alpha_pattern has more than 256 regular expressions",
    ),
    "no patterns": ({"alpha_pattern": ["to_q"]}, "alpha_pattern must be an object of up to 4,096 patterns"),
    "a text for alpha": (
        {"alpha_pattern": {"to_q": "8"}},
        "says alpha_pattern of 'to_q' '8'; a number up to 1,000,000",
    ),
    "a bool for alpha": (
        {"alpha_pattern": {"to_q": True}},
        "says alpha_pattern of 'to_q' True; a number up to 1,000,000",
    ),
    "nothing for alpha": (
        {"alpha_pattern": {"to_q": None}},
        "says alpha_pattern of 'to_q' None; a number up to 1,000,000",
    ),
    "a large alpha": (
        {"lora_alpha": 10**90},
        "says alpha a number of about 90 digits; a number up to 1,000,000",
    ),
    "alpha is a list": ({"lora_alpha": [8]}, "says alpha [8]; a number up to 1,000,000"),
    "a number of 5,000 digits": ('{"r": ' + "1" * 5000 + "}", "holds a number of 5,000 digits"),
    "NaN": ('{"lora_alpha": NaN}', "holds NaN, which is not a number in JSON"),
    "infinite": ('{"lora_alpha": 1e999}', "holds a number that starts with 1e999 and is too large"),
    "twice": ('{"r": 4, "r": 8}', "names 'r' twice"),
    "deep": ('{"r": ' + "[" * 5000 + "]" * 5000 + "}", "is nested deeper than 64 levels"),
    "a list": ("[4]", "is not a JSON object"),
    "nothing": ("", "is not valid JSON: "),
    "PiSSA": (
        {"init_lora_weights": "pissa_niter_4"},
        "says init_lora_weights 'pissa_niter_4', which changes the model's own",
    ),
    "OLoRA": ({"init_lora_weights": "olora"}, "path_initial_model_for_weight_conversion"),
}


@pytest.mark.parametrize("where", ["adapter_config.json", "lora_adapter_metadata"])
@pytest.mark.parametrize(("config", "said"), BAD.values(), ids=BAD)
def test_what_cannot_be_used(
    transformer: Transformer, write: Callable[..., Path], tmp_path: Path, config: Any, said: str, where: str
) -> None:
    """One sentence with the name of the file."""
    if isinstance(config, dict):
        config = {"r": 4, "lora_alpha": 8} | config
    if where == "adapter_config.json":
        path = folder(tmp_path / "lora", config)
    else:
        path = write(tensors_of("base_model.model."), lora_adapter_metadata=config)
    with pytest.raises(CheckpointError) as error:
        attached(transformer, Lora(path))
    message = str(error.value)
    assert said in message
    assert str(path) in message
    assert where in message
    assert "\n" not in message
    assert "set_int_max_str_digits" not in message


@pytest.mark.parametrize("begin", [True, False, "gaussian", "eva", "orthogonal", None])
def test_other_beginnings_are_plain(transformer: Transformer, tmp_path: Path, begin: Any) -> None:
    config = {"r": 4, "lora_alpha": 8, "init_lora_weights": begin}
    assert scales(transformer, folder(tmp_path / "lora", config)) == [2, 2]


@pytest.mark.parametrize(
    ("rank", "said"),
    [(0, "says rank 0; it must be at least 1"), (-4, "says rank -4"), ("4", "says rank '4'")],
)
def test_a_rank_that_cannot_be(tmp_path: Path, rank: Any, said: str) -> None:
    """Where no tensor shows it, as of a whole LoKr."""
    (config,) = read_configs(folder(tmp_path / "lora", {"r": rank, "alpha": 8}), {})
    with pytest.raises(CheckpointError, match=said):
        config.scale("base_model.model.proj_out", None)


def test_an_alpha_beyond_all_measure(transformer: Transformer, write: Callable[..., Path]) -> None:
    from .conftest import low_rank

    file = write(low_rank("diffusion_model.img_in", D, 64, alpha=1e30))
    with pytest.raises(
        CheckpointError, match=r"alpha of diffusion_model\.img_in makes it 3.33333e\+29 times as strong"
    ):
        viewed(transformer, Lora(file))


def test_a_config_that_changes_is_read_again(transformer: Transformer, tmp_path: Path) -> None:
    """Also beside a file that stays as it is, while that is in use."""
    file = folder(tmp_path / "lora", {"r": 4, "lora_alpha": 8}) / "adapter_model.safetensors"
    held = attached(transformer, Lora(file))
    (file.parent / "adapter_config.json").write_text('{"r": 4, "lora_alpha": 160}', encoding="utf-8")
    assert scales(transformer, file) == [40, 40]
    assert held.stages[0][1].double_blocks[0].img_attn.qkv.changes[0].scale == 2


def test_the_longest_prefix_counts(transformer: Transformer, write: Callable[..., Path]) -> None:
    """What diffusers says of the transformer, beside what it says of all."""
    said = {"r": 4, "lora_alpha": 4, "transformer.r": 4, "transformer.lora_alpha": 12}
    assert scales(transformer, write(tensors_of("transformer."), lora_adapter_metadata=said)) == [3, 3]
