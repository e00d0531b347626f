"""Notices that a server was stopped while it holds on to a request.

Some, asked to end, take no more connections and wait for the requests that are open, which never
come to an end: llama.cpp does so. Who waits for one of them has no other sign.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

EVERY = 15.0  # seconds between two looks
MISSES = 3  # looks in succession that find nobody: it may be about to finish what is open
_PATIENCE = 10.0  # seconds for one look


class StoppedError(RuntimeError):
    """The server takes no connections any more."""


async def while_listening(call: Coroutine[Any, Any, T], url: str) -> T:
    """Waits for a request, as long as its server takes connections.

    Args:
        call: the request
        url: the server's address

    Returns:
        what the request returns

    Raises:
        StoppedError: if the server refused connections several times in succession
    """
    task = asyncio.ensure_future(call)
    misses = 0
    try:
        while misses < MISSES:
            done, _ = await asyncio.wait({task}, timeout=EVERY)
            if done:
                return task.result()
            misses = misses + 1 if await refuses(url) else 0
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    raise StoppedError


async def refuses(url: str) -> bool:
    """Returns whether connections to an address are refused; not if nobody can tell."""
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    refused = False
    try:
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        found = await loop.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except OSError:
        return False
    for family, kind, protocol, _, address in found:
        try:
            with socket.socket(family, kind, protocol) as looking:
                looking.setblocking(False)
                await asyncio.wait_for(loop.sock_connect(looking, address), _PATIENCE)
            return False
        except ConnectionRefusedError:
            refused = True
        except asyncio.TimeoutError:
            return False
        except OSError:  # such as an address of a kind that this machine has not
            continue
    return refused
