"""The presets as a source of models for the FiftyOne Model Zoo.

FiftyOne copies this directory when the source is registered, and runs this file from the copy. So
all that it does is to hand over to the installed package.
"""

try:
    from fiftyone_revseg.dataset.zoo.register import register_zoo_source
    from fiftyone_revseg.dataset.zoo.source import (
        download_model,
        load_model,
        parse_parameters,
        resolve_input,
    )
except ImportError as error:
    if not (error.name or "").startswith("fiftyone_revseg"):
        raise
    raise ImportError(
        "The models of this zoo source need the package fiftyone-revseg, and it is missing here or "
        "too old: run `pip install -U fiftyone-revseg`, or `pip install -e .` in its repository"
    ) from error

__all__ = [
    "download_model",
    "load_model",
    "parse_parameters",
    "register_zoo_source",
    "resolve_input",
]
