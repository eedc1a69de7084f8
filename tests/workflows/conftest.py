"""A running ComfyUI with the pack, and a client of it, for each file of tests."""

from collections.abc import Iterator

import pytest

from kontext_core.remote.client import Client
from tools.server import Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client
