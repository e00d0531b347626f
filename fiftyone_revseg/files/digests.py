"""Names for weights by their content: the same on every machine, another for other weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

# Larger files are known by samples, or naming a model would take as long as reading it
_WHOLE = 128 * 2**20
_SAMPLES = 256
_SAMPLE_SIZE = 16 * 2**10


def digest_files(paths: Iterable[str | Path]) -> str:
    """Names files by their content, whatever they are called and wherever they lie.

    Args:
        paths: the files, in an order that is the same everywhere

    Returns:
        64 hexadecimal digits
    """
    return digest_texts(_digest_file(Path(path)) for path in paths)


def digest_texts(texts: Iterable[str]) -> str:
    """Names a list of texts.

    Returns:
        64 hexadecimal digits
    """
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode()
        digest.update(len(data).to_bytes(8, "big"))  # or ["ab", "c"] would be ["a", "bc"]
        digest.update(data)
    return digest.hexdigest()


def _digest_file(path: Path) -> str:
    size = path.stat().st_size
    digest = hashlib.sha256(size.to_bytes(8, "big"))
    with path.open("rb") as file:
        if size <= _WHOLE:
            while block := file.read(2**20):
                digest.update(block)
        else:
            # Spread over the whole file: fine-tuning may leave either end as it was
            for i in range(_SAMPLES):
                file.seek(i * (size - _SAMPLE_SIZE) // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLE_SIZE))
    return digest.hexdigest()
