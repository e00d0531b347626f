"""Waiting for what another thread does."""

import time


def wait_until(condition, seconds=5.0):
    """Returns whether a condition came true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
