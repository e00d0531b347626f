"""What FiftyOne says with every connection to an old database server, said once on a machine."""

from __future__ import annotations

import logging
from importlib import metadata

_WORDS = "oldest supported major version of MongoDB"
_FILE = "said-database"


class _Once(logging.Filter):
    """Lets a message through that was not said yet under this release of FiftyOne."""

    def filter(self, record: logging.LogRecord) -> bool:
        if _WORDS not in record.getMessage():
            return True
        from fiftyone_revseg.files import write_text
        from fiftyone_revseg.models.presets import home

        said, release = home() / _FILE, f"fiftyone {metadata.version('fiftyone')}\n"
        try:
            if said.is_file() and said.read_text() == release:
                return False
            said.parent.mkdir(parents=True, exist_ok=True)
            write_text(said, release)
        except OSError:
            pass  # where nothing can be remembered, it is said each time
        return True


_ONCE = _Once()


def say_once() -> None:
    """Makes commands repeat no message about the age of the database server."""
    logging.getLogger("fiftyone.core.odm.database").addFilter(_ONCE)
