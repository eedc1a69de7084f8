"""How an edit over several devices scales, on paper: `python -m benchmarks.sharing
[--step-ms MS --link-gbs GB]`.

Counted: what each device receives and computes at a step of the published model. Given: what one device was
measured to take for a step of that work, and how fast an all-gather between the devices was measured to be;
without them the last column stays empty. The formulas are explained in benchmarks/many_gpus.md.
"""

import argparse

from kontext_core.config import KONTEXT_DEV, TransformerConfig
from kontext_core.distributed.token_shards import TokenShards
from kontext_core.sampling.cost import step_flop

DEVICES = (1, 2, 4, 8, 16)
WORK = {"text to image": 0, "edit, 1 reference": 1, "edit, 2 references": 2}  # of 1024 x 1024 px each


def received_bytes(config: TransformerConfig, shares: TokenShards, size: int = 2) -> float:
    """Most that a device receives at a step: keys and values of the others' tokens in
    each block, then velocities.

    Args:
        size: bytes of a number; 2 is bfloat16. Velocities are rounded up to the same.
    """
    blocks = config.depth + config.depth_single_blocks
    longest = max(shares.lengths)
    others = shares.ranks - 1
    kv = 2 * blocks * others * longest * config.hidden_size * size
    return kv + others * max(shares.targets) * config.out_channels * size


def swapped_bytes(config: TransformerConfig, shares: TokenShards, size: int = 2) -> float:
    """The same, were heads swapped for tokens in place of it (q, k, v there, the output
    back: arXiv:2309.14509).
    """
    blocks = config.depth + config.depth_single_blocks
    others = shares.ranks - 1
    return 4 * blocks * others * max(shares.lengths) / shares.ranks * config.hidden_size * size


def efficiency(step_s: float, devices: int, received: float, link: float) -> float:
    """Share of `devices` times the speed: T1 / (P (T1 / P + bytes / B)), nothing of the exchange hidden."""
    return step_s / (step_s + devices * received / link)


def table(step_ms: float | None, link_gbs: float | None, work: str) -> list[dict[str, float | None]]:
    """A row for each number of devices."""
    rows: list[dict[str, float | None]] = []
    n_references = 4096 * WORK[work]
    n_tokens = 512 + 4096 + n_references
    for devices in DEVICES:
        shares = TokenShards(512, 4096, n_references, devices)
        received = received_bytes(KONTEXT_DEV, shares)
        known = step_ms is not None and link_gbs is not None
        rows.append(
            {
                "devices": devices,
                "tokens": max(shares.lengths),
                "tflop": step_flop(KONTEXT_DEV, 4096, n_tokens) / devices / 1e12,
                "mb_block": received / (KONTEXT_DEV.depth + KONTEXT_DEV.depth_single_blocks) / 1e6,
                "gb_step": received / 1e9,
                "gb_swapped": swapped_bytes(KONTEXT_DEV, shares) / 1e9,
                "efficiency": efficiency(step_ms / 1e3, devices, received, link_gbs * 1e9) if known else None,
            }
        )
    return rows


def show(rows: list[dict[str, float | None]], work: str) -> None:
    print(f"\n{work}, 1024 x 1024 px, bfloat16, each device, a step\n")
    print(
        "| devices | tokens | TFLOP | MB received a block | GB received | GB, heads swapped | TFLOP a GB | efficiency |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        gb, tflop = row["gb_step"] or 0.0, row["tflop"] or 0.0
        ratio = f"{tflop / gb:.1f}" if gb else ""
        share = "" if row["efficiency"] is None else f"{row['efficiency']:.0%}"
        print(
            f"| {row['devices']} | {row['tokens']} | {tflop:.1f} | {row['mb_block']:.1f} | {gb:.2f} | "
            f"{row['gb_swapped']:.2f} | {ratio} | {share} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step-ms", type=float, help="measured: a step of that work on one device")
    parser.add_argument(
        "--link-gbs", type=float, help="measured: GB/s that a device receives in an all-gather"
    )
    parser.add_argument("--work", choices=WORK, help="only this; all unless given")
    options = parser.parse_args()
    if (options.step_ms or options.link_gbs) and not (options.step_ms and options.link_gbs and options.work):
        parser.error("--step-ms and --link-gbs belong together, and to one --work")
    for work in [options.work] if options.work else WORK:
        show(table(options.step_ms, options.link_gbs, work), work)


if __name__ == "__main__":
    main()
