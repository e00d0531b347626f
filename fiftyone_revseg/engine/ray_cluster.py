"""Where the workers of the Ray engine are: a cluster that is there already, or this machine."""

from __future__ import annotations

import logging
import os
from typing import Any

from fiftyone_revseg.text.escape import first_line

_STORE_BYTES = 512 * 2**20  # for answers on their way; Ray would take 30 % of the memory
# Read by Ray when it starts on this machine
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_worker_niceness": "0",  # else workers are starved by whatever else runs here
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else a warning about a future default
}


class Cluster:
    """A connection to Ray, which is ended only by who began it.

    Args:
        address (None): the address of a cluster, such as "10.0.0.1:6379". By default, the one
            that this process is connected to, or that the environment variable ``RAY_ADDRESS``
            names; else Ray is started on this machine, for as long as this connection lasts
        cpus (1): how many logical CPUs Ray needs to have at least, if it is started here

    Raises:
        ImportError: if Ray is not installed
        ValueError: if there is no such cluster
    """

    def __init__(self, address: str | None = None, cpus: int = 1):
        self._ray = import_ray()
        self.is_own = False  # whether its resources are those of this machine, for us alone
        self._connected_here = False
        if self._ray.is_initialized():
            return
        address = address or os.environ.get("RAY_ADDRESS") or "local"
        self.is_own = address == "local"
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self.is_own:
            for name, value in _SETTINGS.items():
                os.environ.setdefault(name, value)
            # A logical CPU is but a number, and one worker more than there are cores may wait
            options["num_cpus"] = max(os.cpu_count() or 1, cpus)
            options["object_store_memory"] = _STORE_BYTES
            options["include_dashboard"] = False
        try:
            self._ray.init(address=address, **options)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            if self.is_own:
                raise RuntimeError(f"Ray does not start on this machine: {error}") from error
            raise ValueError(
                f"There is no Ray cluster at {address!r}: check the address, and that 'ray start' "
                f"runs there with the same versions of Ray and Python ({first_line(error)})"
            ) from None
        self._connected_here = True

    def resource(self, name: str) -> float:
        """Returns how much of a resource, such as "CPU" or "GPU", there is at the moment."""
        return float(self._ray.cluster_resources().get(name, 0))

    def close(self) -> None:
        """Ends the connection, and Ray on this machine, if they were begun by this object."""
        if self._connected_here:
            self._connected_here = False
            self._ray.shutdown()


def import_ray() -> Any:
    """Returns the package.

    Raises:
        ImportError: if it is not installed; the message says what to do
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError(
            "Workers need Ray: pip install 'fiftyone-revseg[ray]', or leave out what asks for them"
        ) from error
    return ray


def reason_of(error: BaseException) -> str:
    """Says in one line why a call to a worker failed."""
    from ray import exceptions

    if isinstance(error, exceptions.RayTaskError) and error.cause is not None:
        return f"{type(error.cause).__name__}: {first_line(error.cause)}"
    if isinstance(error, exceptions.OutOfMemoryError):
        return "Ray ended it, as its machine ran out of memory"
    if isinstance(error, exceptions.RayActorError):
        # Ray's own words are many; the exit's type is what they come to
        text = str(error)
        if "Worker exit type: " in text:
            kind = text.split("Worker exit type: ", 1)[1].split(maxsplit=1)[0]
            return f"the process of its worker died ({kind})"
        return "the process of its worker died"
    return f"{type(error).__name__}: {first_line(error)}"
