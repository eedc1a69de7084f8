"""A dataclass as the JSON object of what differs from its defaults."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from .shorten import short


def changed_fields(value: Any) -> dict[str, Any]:
    """List the fields of a dataclass that differ from their defaults.

    Args:
        value: an instance of one whose fields all have defaults.
    """
    return {
        field.name: getattr(value, field.name)
        for field in fields(value)
        if getattr(value, field.name) != field.default
    }


def check_names(values: Mapping[str, Any], known: Iterable[str], what: str) -> None:
    """Refuse a name that is not known.

    Args:
        values: by their names.
        known: the names that there are.
        what: is said of any other, as "is no setting of an edit".
    Raises: ValueError.
    """
    names = list(known)
    if unknown := [name for name in values if name not in names]:
        raise ValueError(f"{short(unknown[0])} {what}; there are {', '.join(names)}")
