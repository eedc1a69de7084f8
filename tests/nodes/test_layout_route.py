"""The plan that the page gets for references before a run, which equals what the sampler does."""

import asyncio
import gzip
import http.client
import json
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tools import comfyui
from tools.paths import ROOT
from tools.server import Server

from .conftest import picture

Answer = Callable[[Any], dict[str, Any]]
TINY = {"name": "tiny (comes along)", "dtype": "auto", "device": "cpu"}


@pytest.fixture(scope="session")
def answer(part: Callable[[str], Any], tiny: Path) -> Answer:
    """The route's function, beside a tiny model."""
    return part("nodes.layout_route").answer


def question(*references: dict[str, Any], **more: Any) -> dict[str, Any]:
    """About pictures of 128 x 128 px unless told otherwise."""
    return {
        "model": TINY,
        "layout": "offset",
        "references": [{"sizes": [[128, 128]]} | one for one in references],
    } | more


def test_two_references(answer: Answer) -> None:
    made = answer(question({}, {"sizes": [[300, 200]], "max_tokens": 20}))
    assert made["target"] == {"corner": (0, 0, 0), "size": (8, 8), "tokens": 64, "known": True}
    assert [(one["corner"], one["size"], one["tokens"]) for one in made["references"]] == [
        ((1, 0, 0), (8, 8), 64),
        ((1, 8, 0), (4, 4), 16),
    ]
    assert (made["text_tokens"], made["tokens"]) == (32, 32 + 64 + 64 + 16)
    assert made["published"] is False
    assert 1.5 < made["time_factor"] < 2.5


def test_it_says_what_the_sampler_does(
    answer: Answer, run: Callable[..., Any], model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = {"image": picture(100, 180), "fit": "pad", "strength": 0.0}
    second = {"image": picture(50, 90), "fit": "none", "place": "2 3 4"}
    third = {"image": picture(128, 128), "max_tokens": 30, "strength": 1.5}
    stack, told = None, []
    for one in (first, second, third):
        stack = run("KontextReference", references=stack, **one)[0]
        given = {name: value for name, value in one.items() if name != "image"}
        told.append({"sizes": [list(one["image"].shape[1:3])], **given})
    seen = []
    prepare = model.transformer.prepare
    monkeypatch.setattr(model.transformer, "prepare", lambda *args: seen.append(args[2]) or prepare(*args))
    prompt = run("KontextEncodePrompt", model=model, text="")[0]
    run("KontextSampler", model=model, prompt=prompt, references=stack, steps=1, layout="diagonal")

    made = answer(question(*told, layout="diagonal"))
    ids = seen[0][0].int().tolist()
    shown = [one for one in (made["target"], *made["references"]) if one is not None]
    assert made["references"][0] is None, "strength 0 is left out"
    assert sum(one["tokens"] for one in shown) == len(ids) == made["tokens"] - 32
    start = 0
    for one in shown:
        index, row, column = one["corner"]
        height, width = one["size"]
        assert tuple(ids[start]) == one["corner"]
        start += one["tokens"]
        assert ids[start - 1] == [index, row + height - 1, column + width - 1]


def test_a_reference_tells_its_size_once_it_ran(run: Callable[..., Any]) -> None:
    made = run("KontextReference", image=picture(100, 180), fit="pad")
    assert made.ui.as_dict()["kontext_size"] == [(100, 180)]
    assert len(made.ui.as_dict()["text"]) == 1
    latent = run("KontextReference", latent={"samples": picture(16, 24, channels=16).movedim(-1, 1)})
    assert latent.ui.as_dict()["kontext_size"] == [(128, 192)]


def test_what_is_not_known_has_the_models_size(answer: Answer) -> None:
    made = answer(question({"sizes": None}, {}))
    assert [one["known"] for one in made["references"]] == [False, True]
    assert made["target"]["known"] is False
    assert made["references"][0]["tokens"] == 64
    assert answer(question({"sizes": None}, target=[64, 96]))["target"] == {
        "corner": (0, 0, 0),
        "size": (4, 6),
        "tokens": 24,
        "known": True,
    }
    assert answer(question({}, target={"sizes": None, "fit": "none"}))["target"]["known"] is False


def test_the_target_may_have_the_size_of_a_picture(answer: Answer) -> None:
    made = answer(question({}, target={"sizes": [[60, 100]], "fit": "none"}))
    assert made["target"] == {"corner": (0, 0, 0), "size": (4, 7), "tokens": 28, "known": True}
    assert answer(question({}, target={"sizes": [[60, 100]], "fit": "crop"}))["target"]["size"] == (8, 8)


def test_several_sizes_are_stitched(answer: Answer) -> None:
    made = answer(question({"sizes": [[128, 128], [64, 32], [128, 64]], "fit": "none"}))
    assert made["references"][0]["size"] == (8, 16)


def test_without_a_model_it_is_the_published_one(answer: Answer) -> None:
    made = answer(question({"sizes": [[1024, 1024]]}, model=None))
    assert made["published"] is True
    assert made["references"][0]["tokens"] == 4096
    assert made["tokens"] == 8704
    assert made["step_flop"] == pytest.approx(164.1e12, rel=0.002)


def test_auto_is_the_models_own_layout(answer: Answer) -> None:
    assert answer(question({}, {}, layout="auto"))["layout"] == "index"
    assert answer(question({}, {}, layout="auto", model=None))["layout"] == "offset"


def test_memory_follows_the_loaders_dtype(answer: Answer) -> None:
    half = answer(question({}, model=TINY | {"dtype": "bfloat16"}))["memory"]
    assert half < answer(question({}))["memory"] < 2 * half


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ([], "the question is an empty list; it must be an object"),
        (question({}, model="tiny"), "the model is 'tiny'; it must be an object"),
        (question({}, model={}), "name of the model is nothing; it must be text"),
        (question({}, model={"name": "../secret"}), "the model '../secret' is not there"),
        (question({}, model=TINY | {"dtype": "int8"}), "dtype is 'int8'; choose one of auto, bfloat16"),
        (question({}, layout="round"), "layout is 'round'; choose one of auto, offset, index, diagonal"),
        (question(*[{}] * 65), "references must be a list of at most 64"),
        (question({}, target=[64]), "target is a list of 1; it must be a pair of height and width in pixels"),
        (question({}, target=[64, -1]), "target is -1; it must be a whole number from 0 to 65536"),
        (question({"sizes": []}), "sizes of picture 1 must be a list of 1 to 64 pairs"),
        (question({"sizes": [[0, 5]]}), "a size of picture 1 is 0; it must be a whole number from 1 to"),
        (question({"sizes": [[5, True]]}), "a size of picture 1 is True"),
        (question({}, {"fit": "squeeze"}), "fit of picture 2 is 'squeeze'"),
        (question({"strength": float("nan")}), "strength of picture 1 is nan; it must be a number from 0"),
        (question({"strength": "1"}), "strength of picture 1 is '1'"),
        (question({"max_tokens": 0.5}), "max_tokens of picture 1 is 0.5"),
        (question({"place": "1 2"}), "place is '1 2'; it must be empty, or three whole numbers"),
        (question({"place": 3}), "place of picture 1 is 3; it must be text"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(answer: Answer, wrong: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}") as caught:
        answer(wrong)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def server() -> Any:
    with Server() as server:
        yield server


def asked(server: Server, body: bytes) -> tuple[int, Any]:
    request = urllib.request.Request(f"{server.url}/api/kontext/plan", body, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.comfy
def test_the_page_can_ask(server: Server) -> None:
    status, made = asked(server, json.dumps(question({}, {})).encode())
    assert (status, made["tokens"]) == (200, 224)
    for body, said in (
        (json.dumps(question({}, layout="round")).encode(), "layout is 'round'"),
        (b"{", "the question is not JSON: Expecting property name"),
        (b"", "a question must have 1 to 65536 bytes"),
        (b" " * 70_000, "a question must have 1 to 65536 bytes"),
        (b"[" * 60_000, "the question is nested too deeply, or holds a number that is too long"),
        (b'{"a":' * 12_000, "the question is nested too deeply, or holds a number that is too long"),
        (b'{"target": %s}' % (b"9" * 5000), "the question is nested too deeply, or holds a number that is"),
        (b'{"target": NaN}', "target is nan; it must be a pair"),
        (b"\xff\xfe", "a question must be text in UTF-8"),
        (json.dumps(question({"place": f"{'9' * 5000} 0 0"})).encode(), f"place is '{'9' * 60}' and so on;"),
        (json.dumps(question({}, layout="\ud83d")).encode(), "layout is '\\ud83d'; choose one of"),
        (json.dumps(question({}, model={"name": "a\0b"})).encode(), "the model 'a\\x00b' is not there"),
    ):
        status, made = asked(server, body)
        assert status == 400, body[:20]
        assert made["error"].startswith(said)
        assert "\n" not in made["error"]
        assert len(made["error"]) < 400


def sent(server: Server, head: str, body: bytes) -> tuple[int, str]:
    """A question by hand. Returns: the status, and what is said about the fault."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as line:
        line.sendall(f"POST /kontext/plan HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode() + body)
        reply = http.client.HTTPResponse(line)
        reply.begin()
        text = reply.read()
        return reply.status, json.loads(text).get("error", "") if text.startswith(b"{") else text.decode()


@pytest.mark.comfy
@pytest.mark.parametrize("charset", ["utf-8", "UTF8", '"utf-8"', ""])
def test_a_question_is_read_as_utf_8(server: Server, charset: str) -> None:
    body = json.dumps(question({})).encode()
    head = f"Content-Type: application/json; charset={charset}\r\nContent-Length: {len(body)}\r\n"
    assert sent(server, head, body) == (200, "")


@pytest.mark.comfy
@pytest.mark.parametrize("charset", ["bogus", "utf-16", "latin-1", "base64", "idna", "x" * 200])
def test_a_question_in_another_charset(server: Server, charset: str) -> None:
    body = json.dumps(question({})).encode()
    head = f"Content-Type: application/json; charset={charset}\r\nContent-Length: {len(body)}\r\n"
    assert sent(server, head, body) == (400, "a question must be text in UTF-8")


@pytest.mark.comfy
def test_a_question_whose_length_or_encoding_is_another(server: Server) -> None:
    body = json.dumps(question({})).encode()
    cut = f"Content-Length: {len(body) - 5}\r\n"
    assert sent(server, cut, body[:-5])[1].startswith("the question is not JSON: ")
    packed = f"Content-Encoding: gzip\r\nContent-Length: {len(body)}\r\n"
    assert sent(server, packed, body) == (
        400, "the question did not arrive whole: its length or its encoding is another",
    )  # fmt: skip
    bomb = gzip.compress(b" " * 50_000_000)
    head = f"Content-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n"
    assert sent(server, head, bomb) == (400, "a question must have 1 to 65536 bytes")
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    assert sent(server, "Transfer-Encoding: chunked\r\n", chunked) == (200, "")
    for head in (cut, "Content-Length: abc\r\n", "Content-Length: -1\r\n", "Transfer-Encoding: chunked\r\n"):
        assert sent(server, head, body)[0] == 400


def test_a_question_that_does_not_end_is_not_waited_for(
    part: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()  # announced, and never sent

    routes = part("nodes.host.routes")
    monkeypatch.setattr(routes, "LONGEST_ASKED", 0.01)
    request = SimpleNamespace(content=SimpleNamespace(iter_any=pieces), charset=None)
    with pytest.raises(ValueError, match="the question did not arrive whole"):
        asyncio.run(routes._question(request))


_ASK = """
import asyncio, importlib.util, sys
sys.path.append(sys.argv[1])
from comfy.cli_args import args
args.cpu, args.base_directory = True, sys.argv[2]
import comfy_api.latest, comfy.model_management
spec = importlib.util.spec_from_file_location("pack", sys.argv[3])
module = importlib.util.module_from_spec(spec)
sys.modules["pack"] = module
spec.loader.exec_module(module)
asyncio.run(asyncio.run(module.comfy_entrypoint()).get_node_list())
before = set(sys.modules)
from pack.nodes.layout_route import answer
made = answer({"model": {"name": "tiny (comes along)"}, "references": [{"sizes": [[128, 128]]}]})
assert made["tokens"] == 160, made
heavy = {name for name in set(sys.modules) - before if name.endswith((".modeling_t5", ".modeling_clip", ".pipeline"))}
assert not heavy, heavy
"""


def test_an_answer_reads_the_header_alone(tmp_path: Path) -> None:
    """It loads neither weights nor the text encoders' classes."""
    command = [
        sys.executable,
        "-c",
        _ASK,
        str(comfyui.get().folder),
        str(tmp_path),
        str(ROOT / "__init__.py"),
    ]
    subprocess.run(command, check=True, cwd=tmp_path, timeout=300)
