"""How much faster than diffusers is one evaluation of the network on a CPU, and the autoencoder?

    python -m benchmarks.cpu_forward [--rounds 200] [--threads 1]

A small configuration (2 double and 4 single blocks, width 128, 144 tokens), float32, random weights, no
gradients. Ours and diffusers' run in turns, so that both meet the same machine; the fastest of all rounds
counts. With one thread it is the thread's own time, which other programs disturb least. Times are of this
machine and say nothing by themselves; ratios do. They are printed, and written to
benchmarks/results/cpu_forward.json.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import diffusers
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from torch import Tensor, nn

from kontext_core.loading import load_transformer, load_vae
from kontext_core.memory.tensor_data import lay_out_for_cpu
from kontext_core.model.positions import layout_ids, target_ids, text_ids

RESULTS = Path(__file__).parent / "results" / "cpu_forward.json"

TEXT_TOKENS, TARGET, REFERENCE = 16, (8, 8), (8, 8)  # 16 + 64 + 64 = 144 tokens
CONTEXT, POOLED = 128, 128
PICTURE_PX = 128


def transformer_contestants(folder: Path) -> dict[str, Callable[[], Tensor]]:
    """One evaluation each, of the same weights on the same tokens.

    "forward" is all of it in one call; "step" is what each step of the sampling loop costs, which in
    diffusers is the same call, and here leaves out what stays constant over an edit.
    """
    theirs = FluxTransformer2DModel(
        num_layers=2,
        num_single_layers=4,
        attention_head_dim=32,
        num_attention_heads=4,
        joint_attention_dim=CONTEXT,
        pooled_projection_dim=POOLED,
        guidance_embeds=True,
        axes_dims_rope=(8, 12, 12),
    )
    ours = load_transformer(_saved(theirs, folder / "transformer"))
    lay_out_for_cpu(ours)  # as `Pipeline.load` does
    ids = torch.cat([target_ids(*TARGET), *layout_ids(TARGET, [REFERENCE])], dim=1)
    n_target = TARGET[0] * TARGET[1]
    generator = torch.Generator().manual_seed(1)
    img = torch.randn(1, ids.shape[1], 64, generator=generator)
    txt = torch.randn(1, TEXT_TOKENS, CONTEXT, generator=generator)
    pooled = torch.randn(1, POOLED, generator=generator)
    times, guidance, origin = torch.tensor([0.7]), torch.tensor([2.5]), text_ids(1, TEXT_TOKENS)
    prepared = ours.prepare(txt, origin, ids, img[:, n_target:])
    modulation = ours.modulation(times[None], pooled, guidance)

    def their_forward() -> Tensor:
        velocity = theirs(
            hidden_states=img,
            encoder_hidden_states=txt,
            pooled_projections=pooled,
            timestep=times,
            img_ids=ids[0],
            txt_ids=origin[0],
            guidance=guidance,
            return_dict=False,
        )[0]
        return velocity[:, :n_target]

    return {
        "diffusers": their_forward,
        "forward": lambda: ours(img, ids, txt, origin, times, pooled, guidance, n_target),
        "step": lambda: ours.velocity(img[:, :n_target], prepared, modulation, 0),
    }


def autoencoder_contestants(
    folder: Path,
) -> tuple[dict[str, Callable[[], Tensor]], dict[str, Callable[[], Tensor]]]:
    """Encoding and decoding of one picture, with the same weights."""
    theirs = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 32, 64, 64),
        layers_per_block=1,
        latent_channels=16,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    ours = load_vae(_saved(theirs, folder / "vae"))
    scale, shift = theirs.config.scaling_factor, theirs.config.shift_factor
    image = torch.randn(1, 3, PICTURE_PX, PICTURE_PX, generator=torch.Generator().manual_seed(2))
    latents = ours.encode(image)
    encode = {
        "diffusers": lambda: (theirs.encode(image).latent_dist.mode() - shift) * scale,
        "encode": lambda: ours.encode(image),
    }
    decode = {
        "diffusers": lambda: theirs.decode(latents / scale + shift).sample,
        "decode": lambda: ours.decode(latents),
    }
    return encode, decode


def fastest(contestants: Mapping[str, Callable[[], Tensor]], rounds: int) -> dict[str, float]:
    """Seconds of each one's fastest round, after two to warm up. They take turns.

    Raises: AssertionError if their results differ.
    """
    expected, *others = [contestant() for contestant in contestants.values()]
    for result in others:
        torch.testing.assert_close(result, expected, rtol=1e-3, atol=1e-4)
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    times = dict.fromkeys(contestants, float("inf"))
    for round_ in range(rounds + 2):
        for name, contestant in contestants.items():
            start = clock()
            contestant()
            if round_ >= 2:
                times[name] = min(times[name], clock() - start)
    return times


def ratios(times: Mapping[str, float]) -> dict[str, float]:
    """How many times as fast as diffusers each other contestant is."""
    return {name: times["diffusers"] / seconds for name, seconds in times.items() if name != "diffusers"}


def _saved(model: nn.Module, folder: Path) -> Path:
    """Random weights (normal, scaled by fan-in) in diffusers' own files."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        random = torch.randn(parameter.shape, generator=generator)
        parameter.data = random / parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 1 + 0.1 * random
    model.eval().save_pretrained(folder)
    return folder


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        races = {"transformer": transformer_contestants(Path(folder))}
        races["autoencoder, encode"], races["autoencoder, decode"] = autoencoder_contestants(Path(folder))
        found = {race: fastest(contestants, arguments.rounds) for race, contestants in races.items()}
    result = {
        "ratio_to_diffusers": {
            race: {name: round(ratio, 2) for name, ratio in ratios(times).items()}
            for race, times in found.items()
        },
        "rounds": arguments.rounds,
        "threads": arguments.threads,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "diffusers": diffusers.__version__,
            "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        },
    }
    for race, times in found.items():
        for name, seconds in times.items():
            print(
                f"{race:22} {name:10} {seconds * 1000:8.3f} ms {times['diffusers'] / seconds:6.2f} x diffusers"
            )
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
