"""Untrusted JSON: what is read, and what is refused in one sentence."""

from pathlib import Path

import pytest

from kontext_core.checks import strict_json
from kontext_core.checks.strict_json import parse, parse_object, read_object
from kontext_core.errors import CheckpointError

REFUSED = {
    "digits": ('{"a": ' + "1" * 5000 + "}", "holds a number of 5,000 digits, but 100 is the maximum"),
    "digits below zero": ('{"a": [-' + "1" * 101 + "]}", "holds a number of 101 digits, but 100 is the maximum"),
    "digits and a point": ('{"a": ' + "1" * 5000 + ".5}", "holds a number that starts with "
    "11111111111111111111 and is too"),
    "an exponent": ('{"a": -1e400}', "holds a number that starts with -1e400 and is too large"),
    "NaN": ('{"a": NaN}', "holds NaN, which is not a number in JSON"),
    "Infinity": ('{"a": [Infinity]}', "holds Infinity, which is not a number in JSON"),
    "-Infinity": ('{"a": -Infinity}', "holds -Infinity, which is not a number in JSON"),
    "twice": ('{"a": 1, "b": 2, "a": 1}', "names 'a' twice"),
    "twice inside": ('{"a": {"b": 1, "b": 1}}', "names 'b' twice"),
    "nested": ('{"a": ' + "[" * 64 + "]" * 64 + "}", "is nested deeper than 64 levels"),
    "nested objects": ('{"a": ' * 65 + "1" + "}" * 65, "is nested deeper than 64 levels"),
    "nested without end": ("[" * 100_000, "is nested deeper than 64 levels"),
    "no JSON": ("{", "is not valid JSON: "),
    "nothing": ("", "is not valid JSON: "),
    "a list": ("[1]", "is not a JSON object"),
    "a number": ("1", "is not a JSON object"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """Read as text, as bytes and from a file, whose name is in the message."""
    path = tmp_path / "config.json"
    path.write_text(text, encoding="utf-8")
    for read in (
        lambda: parse_object(text, str(path)),
        lambda: parse_object(text.encode(), str(path)),
        lambda: read_object(path),
    ):
        with pytest.raises(CheckpointError) as error:
            read()
        assert str(error.value).startswith(f"{path} {said}")
        assert "\n" not in str(error.value)
        assert "set_int_max_str_digits" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1, "b": [1.5, "x", null, true]}', {"a": 1, "b": [1.5, "x", None, True]}),
        ("{}", {}),
        ('{"model_max_length": 1000000000000000019884624838656}', {"model_max_length": int(1e30)}),
        ('{"a": ' + "1" * 100 + "}", {"a": int("1" * 100)}),
        ('{"a": 0.' + "1" * 5000 + "}", {"a": 1 / 9}),
        ('{"a": 1e-400}', {"a": 0.0}),
        ('\ufeff{"a": 1}', {"a": 1}),
        ('{"a": "\\ud83d\\ude00"}', {"a": "\U0001f600"}),
    ],
)
def test_what_is_read(text: str, value: object) -> None:
    assert parse_object(text, "x") == value
    assert parse_object(text.encode(), "x") == value


def test_as_deep_as_may_be() -> None:
    text = '{"a": ' + "[" * 63 + "1" + "]" * 63 + "}"
    assert parse(text, "x") == parse_object(text, "x")
    assert parse("[1, [2]]", "x") == [1, [2]]


def test_a_file_that_is_none_or_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match=r"there is no file .*none\.json"):
        read_object(tmp_path / "none.json")
    with pytest.raises(CheckpointError, match="there is no file"):
        read_object(tmp_path)
    path = tmp_path / "large.json"
    path.write_text('{"a": 1}   ', encoding="utf-8")
    monkeypatch.setattr(strict_json, "MOST_BYTES", 11)
    assert read_object(path) == {"a": 1}
    monkeypatch.setattr(strict_json, "MOST_BYTES", 10)
    with pytest.raises(
        CheckpointError, match=r"large\.json has more than 0 MiB, which no JSON of a model needs"
    ):
        read_object(path)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.json"
    path.write_text("{}", encoding="utf-8")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(CheckpointError) as error:
        read_object(path)
    assert str(error.value) == f"{path} cannot be read: Permission denied"
