"""Pictures as text, the way in which the OpenAI API takes them."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from fiftyone_revseg.reasoning.backend import Image

_FORMATS = ("jpeg", "png")


@dataclass(frozen=True)
class ImageEncoding:
    """How pictures are sent to a server.

    Args:
        format ("jpeg"): "png" loses nothing, so that the model sees what a local one would; "jpeg"
            is several times smaller
        quality (95): of JPEG, 1 to 100

    Raises:
        ValueError: if a value is not valid
    """

    format: str = "jpeg"
    quality: int = 95

    def __post_init__(self) -> None:
        if self.format not in _FORMATS:
            raise ValueError(f"image_format must be 'jpeg' or 'png', got {self.format!r}")
        quality = self.quality
        if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100:
            raise ValueError(f"image_quality must be a whole number from 1 to 100, got {quality!r}")

    def __str__(self) -> str:
        return "png" if self.format == "png" else f"jpeg {self.quality}"


class DataUris:
    """Encodes pictures once, however often they are sent, as long as somebody holds them.

    Turn 2 sends the pictures of turn 1 again, for every object and every correction.
    """

    def __init__(self, encoding: ImageEncoding) -> None:
        self.encoding = encoding
        self._known: WeakKeyDictionary[Image, str] = WeakKeyDictionary()

    def __call__(self, image: Image) -> str:
        """Returns a picture as ``data:image/jpeg;base64,...``."""
        uri = self._known.get(image)
        if uri is None:
            uri = self._known[image] = _encode(image, self.encoding)
        return uri


def _encode(image: Image, encoding: ImageEncoding) -> str:
    from PIL import Image as PILImage

    buffer = io.BytesIO()
    picture = PILImage.fromarray(image.pixels)
    if encoding.format == "png":
        picture.save(buffer, "PNG", compress_level=1)  # a little larger, several times faster
    else:
        # Colour at full resolution: a query may tell small objects apart by it
        picture.save(buffer, "JPEG", quality=encoding.quality, subsampling=0)
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/{encoding.format};base64,{text}"
