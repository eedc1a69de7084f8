"""Whether the parts of a model belong together: one rule for whoever looks for parts and for loading."""

from collections.abc import Mapping
from pathlib import Path

from ..config import TransformerConfig
from ..errors import CheckpointError
from ..model.latents import LATENT_PX
from .locate import locate_part
from .recognise import FileReport
from .tokenizers import Vocabulary, read_vocabulary

# Kinds of text encoders, and the tokenizer of each.
TOKENIZER_OF = {"clip": "tokenizer", "t5": "tokenizer_2"}


def misfit(report: FileReport, transformer: TransformerConfig, vocabulary: Vocabulary | None = None) -> str:
    """Say why a part cannot serve a transformer: half a sentence, "" where it can.

    Args:
        report: what an autoencoder or a text encoder is.
        transformer: the sizes that it must serve.
        vocabulary: what the tokenizer of a text encoder knows; None for an autoencoder.
    """
    if report.refusal:
        return report.refusal
    config = report.config
    if report.kind == "vae":
        if config.z_channels * 4 != transformer.in_channels:
            channels = transformer.in_channels // 4
            return f"it makes {config.z_channels} channels, but the transformer takes {channels}"
        if (config.in_channels, config.out_ch) != (3, 3) or 2 ** (len(config.ch_mult) - 1) != LATENT_PX:
            return f"it is not for pictures of 3 channels whose sides it makes {LATENT_PX} times smaller"
        return ""
    width, read = (
        (config.hidden_size, transformer.vec_in_dim)
        if report.kind == "clip"
        else (config.d_model, transformer.context_in_dim)
    )
    if width != read:
        return f"it is {width} wide, but the transformer takes {read}"
    return "" if vocabulary is None else vocabulary.misfit(config)


def check_parts(reports: Mapping[str, FileReport], tokenizers: Mapping[str, Path]) -> None:
    """Raise before anything large is read where the parts do not belong together.

    Args:
        reports: of "transformer", "vae", "clip" and "t5".
        tokenizers: the folders of "tokenizer" and "tokenizer_2".
    Raises: CheckpointError that names the file and says why.
    """
    transformer = reports["transformer"]
    for kind, report in reports.items():
        if kind == "transformer":
            continue
        name = TOKENIZER_OF.get(kind)
        vocabulary = None if name is None else read_vocabulary(name, tokenizers[name])
        if fault := misfit(report, transformer.config, vocabulary):
            raise CheckpointError(f"{report.path} does not fit {transformer.path}: {fault}")


def check_tensors(path: Path, kind: str) -> None:
    """Raise where loading a file would fail though its kind is right: keys missing, strange or misshapen.

    Args:
        path: of a file.
        kind: "vae", "clip" or "t5".
    Raises: CheckpointError.
    """
    from .models import check_keys, empty_vae
    from .text_encoders import empty_clip, empty_t5

    report, weights = locate_part(path, kind)
    if kind == "vae":
        check_keys(empty_vae(report), report, weights)
        return
    model, weights = (empty_clip if kind == "clip" else empty_t5)(report, weights)
    check_keys(model, report, weights)
