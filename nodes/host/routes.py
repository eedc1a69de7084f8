"""Requests of the page, sent by POST with JSON."""

from __future__ import annotations

import asyncio
import codecs
import json
import sys
from collections.abc import Callable
from typing import Any

MOST_ASKED = 65_536  # bytes of a question from the page
LONGEST_ASKED = 10.0  # seconds in which it has to arrive


def serve(path: str, answer: Callable[[Any], Any]) -> None:
    """Register a route for POST with JSON, unless ComfyUI has no server or serves the path already.

    Args:
        answer: from the question to a JSON value, run in a thread. A ValueError in it is status 400,
            {"error": sentence}, and so is a question that cannot be read.
    """
    module = sys.modules.get("server")  # ComfyUI's, which only ComfyUI itself may start
    server = getattr(getattr(module, "PromptServer", None), "instance", None)
    if server is None or any(getattr(route, "path", None) == path for route in server.routes):
        return
    from aiohttp import web

    async def answered(request: web.Request) -> web.Response:
        try:
            return web.json_response(await asyncio.to_thread(answer, await _question(request)))
        except (ValueError, OSError) as error:
            return web.json_response({"error": str(error)}, status=400)

    server.routes.post(path)(answered)


async def _question(request: Any) -> Any:
    """Read the question of a request. Raises: ValueError unless it is JSON of a sensible size."""
    from aiohttp.http_exceptions import HttpProcessingError
    from aiohttp.web import RequestPayloadError

    body = bytearray()
    try:
        async with asyncio.timeout(LONGEST_ASKED):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > MOST_ASKED:
                    break
    except (TimeoutError, HttpProcessingError, RequestPayloadError) as error:
        raise ValueError(
            "the question did not arrive whole: its length or its encoding is another"
        ) from error
    if not 0 < len(body) <= MOST_ASKED:
        raise ValueError(f"a question must have 1 to {MOST_ASKED} bytes")
    try:
        if codecs.lookup(request.charset or "utf-8").name != "utf-8":
            raise LookupError
        return json.loads(body.decode("utf-8"))
    except (LookupError, UnicodeDecodeError) as error:
        raise ValueError("a question must be text in UTF-8") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"the question is not JSON: {error}") from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, lists in lists in lists
        raise ValueError("the question is nested too deeply, or holds a number that is too long") from error
