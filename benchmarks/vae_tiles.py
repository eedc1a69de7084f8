"""How far is the autoencoder in tiles from the autoencoder whole, up to 4096 px?

    python -m benchmarks.vae_tiles [--sizes 1024x1024 4096x128 128x4096]

The tiny model's autoencoder in float32, width x height: random latents decoded both ways, and the picture
encoded both ways. The largest difference of a picture as a part of what it spans (1/255 is a step of 8 bits),
of latents as it is. Printed, and written to benchmarks/results/vae_tiles.json. 4096x4096 whole takes 6 GB.
"""

import argparse
import json
from pathlib import Path

import torch

from kontext_core.loading import load_vae
from kontext_core.loading.locate import TINY_FOLDER
from kontext_core.model.tiled_vae import TILE, decode_in_tiles, encode_in_tiles

RESULTS = Path(__file__).parent / "results"
SIZES = ("1024x1024", "4096x128", "128x4096")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), metavar="WIDTHxHEIGHT")
    sizes: list[str] = parser.parse_args().sizes
    vae = load_vae(TINY_FOLDER, dtype=torch.float32)
    found: dict[str, dict[str, float]] = {}
    for size in sizes:
        width, height = map(int, size.split("x"))
        latents = torch.randn(1, 16, height // 8, width // 8, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            picture = vae.decode(latents)
            decoded = (decode_in_tiles(vae, latents) - picture).abs().max().item() / 2
            encoded = (encode_in_tiles(vae, picture) - vae.encode(picture)).abs().max().item()
        found[size] = {"picture": decoded, "picture over 1/255": decoded * 255, "latents": encoded}
        print(size, found[size], flush=True)
    command = f"python -m benchmarks.vae_tiles --sizes {' '.join(sizes)}"
    made = {"command": command, "tile": TILE, "largest difference": found}
    (RESULTS / "vae_tiles.json").write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
