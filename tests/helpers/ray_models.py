"""Pipelines for workers, whose model does to them what a query says."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

from fake_models import ANSWERS, BoxTracker, ScriptedReasoner

from fiftyone_revseg.pipeline import RevSeg

FAULTS = ("poison", "die once", "hang", "full disk")


class FaultyReasoner(ScriptedReasoner):
    """Answers as a cat does, unless the query is one of ``FAULTS``."""

    def __init__(self, folder, seconds=0.0):
        super().__init__({**ANSWERS, **{fault: ANSWERS["the cat"] for fault in FAULTS}})
        self.folder = Path(folder)
        self.seconds = seconds
        with (self.folder / "workers").open("a") as log:
            log.write(f"{os.getpid()}\n")

    def generate(self, conversations, spec):
        time.sleep(self.seconds * len(conversations))
        replies = super().generate(conversations, spec)
        for i, conversation in enumerate(conversations):
            text = next(m.text for m in conversation.messages if m.role == "user")
            fault = next((fault for fault in FAULTS if f'"{fault}"' in text), None)
            if fault is not None:
                with (self.folder / fault).open("a") as log:
                    log.write(f"{os.getpid()}\n")
                lines = (self.folder / fault).read_text().splitlines()
                if fault == "poison" or (fault == "die once" and len(lines) == 1):
                    os.kill(os.getpid(), signal.SIGKILL)
                if fault == "hang":
                    time.sleep(1000)
                if fault == "full disk":
                    replies[i] = OSError(errno.ENOSPC, "No space left on device")
        return replies


def load(folder, seconds=0.0):
    """What a worker loads; each reply takes so many seconds."""
    return RevSeg(FaultyReasoner(folder, seconds), BoxTracker())


def load_nothing():
    """A model that is not there."""
    raise ValueError("There is no model 'x': check its name")
