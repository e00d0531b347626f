"""The version of this package; ``setup.py`` and ``fiftyone.yml`` follow it."""

__version__ = "0.1.0"
