"""A script that has imported everything, and makes a process of itself for each request.

That takes milliseconds, where starting another interpreter would take seconds. Requests and answers
are lines of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any


class ForkServer:
    """Starts a script that calls :func:`serve`, and processes from it."""

    def __init__(self, script: str):
        pipe = subprocess.PIPE
        self._script = subprocess.Popen(
            [sys.executable, script], stdin=pipe, stdout=pipe, text=True
        )

    def fork(self, **arguments: Any) -> int:
        """Starts a process, and returns the number of that."""
        return self._ask(arguments)

    def wait(self, pid: int) -> int:
        """Waits for the end of a process; returns 0 if all went well, -9 if it was killed."""
        return self._ask({"wait": pid})

    def close(self) -> None:
        """Ends the script."""
        self._script.communicate()

    def _ask(self, request: dict[str, Any]) -> int:
        self._script.stdin.write(json.dumps(request) + "\n")
        self._script.stdin.flush()
        return json.loads(self._script.stdout.readline())


def serve(child: Callable[..., int]) -> None:
    """Answers requests; ``child`` is called with the arguments of one in a process of its own."""
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if answer == 0:
                os._exit(child(**request))
        print(answer, flush=True)
