"""The front ends that page tests run on: the usual ones with 'make test', all with 'make test-matrix'."""

import pytest
from _pytest.mark.structures import ParameterSet

from tools import frontend

USUAL = (frontend.OWN, frontend.NEWEST)


def in_matrix(version: str, usual: tuple[str, ...] = USUAL) -> bool:
    """Whether tests on a front end are left to 'make test-matrix', which may be told which ones to take."""
    chosen = frontend.chosen()
    return version in chosen if chosen else version not in usual


def number(version: str) -> tuple[int, ...]:
    """A version to compare with others."""
    return tuple(int(part) for part in version.split("."))


def versions() -> tuple[str, ...]:
    """All of them, the usual ones first."""
    return frontend.chosen() or (*USUAL, *(version for version in frontend.MATRIX if version not in USUAL))


def params() -> list[ParameterSet]:
    """The same for a fixture."""
    return [
        pytest.param(version, marks=pytest.mark.matrix if in_matrix(version) else ())
        for version in versions()
    ]
