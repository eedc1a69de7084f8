"""The benchmark runs from start to end on a CPU, in the smallest configuration."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import scaling, trace
from benchmarks.speed import __main__ as speed
from benchmarks.speed import contestants
from benchmarks.speed.cases import CONFIGURATIONS, Case, counted_flop, step_flop
from benchmarks.speed.models import random_transformer
from kontext_core.config import KONTEXT_DEV
from tools.paths import ROOT


def test_work_of_a_step_is_the_formula() -> None:
    """57 (24 D^2 N + 4 N^2 D): 112.4 and 53.1 TFLOP with one reference, of which the
    last block leaves out some.
    """
    case = Case(1024, 1)
    by_formula = step_flop(KONTEXT_DEV, case.image_tokens + KONTEXT_DEV.text_length)
    assert [round(flop / 1e12, 1) for flop in by_formula] == [112.4, 53.1]
    for counted, whole in zip(counted_flop(KONTEXT_DEV, case), by_formula, strict=True):
        assert 0.985 < counted / whole < 1


def test_bench(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    options = "--cpu --configuration least --rounds 2 --seconds 0.002 --steps 2 --output"
    speed.main([*options.split(), str(tmp_path)])
    torch.set_num_threads(threads)
    result = json.loads((tmp_path / "speed_cpu.json").read_text())
    cases = result["least"]["cases"]
    assert list(cases) == [Case(32, count).name for count in (1, 0, 2)]
    for case in cases.values():
        theirs = case["contestants"]["diffusers"]
        assert theirs["over_floor"] > 0
        for name in ("ours", "ours, plain"):
            ours = case["contestants"][name]
            assert ours["exact"], f"the error is {ours['error']}"
            assert ours["same_bits"]
            assert ours["times_diffusers"] > 0
        assert "CUDA" in case["contestants"]["ours, fp8"]["unavailable"]
    assert result["least"]["edit"]["contestants"]["ours, plain"]["times_diffusers"] > 0
    assert result["least"]["uses"] == {"fused_kernels": False, "attention": "torch"}
    assert "seconds" not in (tmp_path / "speed_cpu.json").read_text()
    assert (tmp_path / "speed_cpu_least.png").stat().st_size > 1000


def test_one_contestant_that_fails_does_not_end_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(model: object) -> None:
        raise ZeroDivisionError("of a compiler's own")

    broken_one = speed.Contestant(True, broken)
    monkeypatch.setattr(speed, "PEERS", {"diffusers": speed.PEERS["diffusers"], "broken": broken_one})
    monkeypatch.setattr(speed, "MODES", {})
    monkeypatch.setattr(speed, "cases_of", lambda *_, **__: [Case(32, 0), Case(32, 1)])
    options = "--cpu --configuration least --rounds 1 --seconds 0.001 --steps 1 --output"
    speed.main([*options.split(), str(tmp_path)])
    found = json.loads((tmp_path / "speed_cpu.json").read_text())["least"]["cases"]
    assert found["32 px, 1 reference"]["contestants"]["broken"] == {
        "unavailable": "ZeroDivisionError: of a compiler's own"
    }


def test_no_case_is_begun_that_would_not_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What was measured until then is written."""
    monkeypatch.setattr(speed, "PEERS", {"diffusers": speed.PEERS["diffusers"]})
    monkeypatch.setattr(speed, "MODES", {})
    options = "--cpu --configuration least --rounds 1 --seconds 0.001 --minutes 0.0001 --side 32 --output"
    speed.main([*options.split(), str(tmp_path)])
    found = json.loads((tmp_path / "speed_cpu.json").read_text())["least"]
    first, *others = found["cases"].values()
    assert first["contestants"]["diffusers"]["over_floor"] > 0
    assert others == [{"unavailable": "no time was left"}] * 2
    assert found["edit"]["contestants"]["diffusers"] == {"unavailable": "no time was left"}


def test_the_usual_edit_comes_first() -> None:
    kontext = CONFIGURATIONS["kontext"]
    short = speed.cases_of(kontext, short=True)
    assert short == [Case(1024, 1), Case(1024, 0), Case(1024, 2), Case(512, 1)]
    assert speed.usual_edit(kontext) == short[0]
    assert speed.cases_of(kontext, short=False, sides=[256]) == [Case(256, count) for count in (1, 0, 2, 4)]
    assert len(speed.cases_of(kontext, short=False)) == 12


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("", "there is no CUDA card here; --cpu gives ratios on the CPU"),
        ("--cpu --configuration kontext", "on a CPU a step takes minutes; choose tiny, middle or least"),
        ("--cpu --side 500", "500 is no side of a picture here; give a multiple of 16"),
        ("--cpu --rounds 0", "0 is not a count; give 1 or more"),
        ("--cpu --minutes soon", "soon is not an amount of time; give a number above 0"),
        ("--cpu --seconds -1", "-1 is not an amount of time; give a number above 0"),
        ("--cpu --output README.md", "--output README.md is a file; name a folder"),
        ("--cpu --contestant fastest", "argument --contestant: invalid choice: 'fastest'"),
    ],
)
def test_options(
    options: str, sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit):
        speed.main(options.split())
    assert sentence in capsys.readouterr().err


def test_threads_are_for_a_cpu(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(SystemExit):
        speed.main(["--threads", "4"])
    assert "--threads is for a CPU; leave it out, or give --cpu" in capsys.readouterr().err


def test_scaling(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    scaling.main(
        ["--rounds", "1", "--configuration", "least", "--sides", "32", "48", "--output", str(tmp_path)]
    )
    torch.set_num_threads(threads)
    found = json.loads((tmp_path / "scaling.json").read_text())["steps"]
    assert [one["tokens"] for one in found] == [
        (side // 16) ** 2 * (1 + count) + CONFIGURATIONS["least"].transformer.text_length
        for side in (32, 48)
        for count in (0, 1, 2, 4)
    ]
    assert found[0]["time"] == found[0]["formula"] == 1
    assert (tmp_path / "scaling.png").stat().st_size > 1000


def test_trace(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    options = ["--configuration", "least", "--side", "32", "--contestant", "ours", "--contestant"]
    trace.main([*options, "ours, graph", "--output", str(tmp_path)])
    torch.set_num_threads(threads)
    found = json.loads((tmp_path / "trace.json").read_text())["contestants"]
    assert found["ours, graph"] == {"unavailable": "graphs are CUDA's"}
    kinds = found["ours"]["kinds"]
    assert sum(kinds.values()) == pytest.approx(1, abs=0.01)
    assert {"products", "attention", "copies", "the rest"} == set(kinds)
    assert found["ours"]["kernels"][0]["share"] >= found["ours"]["kernels"][1]["share"] > 0


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("nvjet_tst_192x192_64x4_2x1_v_bz_coopB_bias_TNN", "products"),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64", "products"),
        ("cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16", "attention"),
        ("void pytorch_flash::flash_fwd_kernel<pytorch_flash::Flash_fwd_kernel_traits<128", "attention"),
        ("_turn_kernel", "fused kernels"),
        ("triton_per_fused_add_mul_native_layer_norm_0", "fused kernels"),
        ("Memcpy DtoD (Device -> Device)", "copies"),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::GeluCUDAKernelImpl", "the rest"),
        ("aten::mm", "products"),
    ],
)
def test_what_a_kernel_is_for(name: str, kind: str) -> None:
    assert trace.kind_of(name) == kind


def test_on_a_cpu_ours_is_what_loading_gives() -> None:
    """Its small weights lie inputs first, in memory of their own: diffusers' stay as they
    were, and all the numbers.
    """
    config = CONFIGURATIONS["least"].transformer
    model = random_transformer(config, torch.device("cpu"), torch.float32)
    ours = contestants.MODES["ours"].make(model)
    theirs = contestants.PEERS["diffusers"].make(model)
    weights = [one.single_blocks[0].linear2.weight for one in (ours, model)]
    assert [one.is_contiguous() for one in weights] == [False, True]
    assert torch.equal(*weights)
    block = theirs.single_transformer_blocks[0]
    assert block.proj_out.weight.data_ptr() == weights[1].data_ptr()
    assert block.proj_out.weight.is_contiguous()
