"""How models write where an object is: the order, the scale and the key of a box, as data.

A box that is read by another convention than it was written in is at another place, and looks as
good as the right one. So a convention is named by who knows the model, never guessed from replies.
"""

from __future__ import annotations

from dataclasses import dataclass

#: What a model can be asked for in turn 2, and the tracker starts from
PROMPTS = ("box", "box+point", "point")


@dataclass(frozen=True)
class BoxConvention:
    """One way to write a box.

    Attributes:
        name: what a chain spec calls it
        reach: the number at the right and at the bottom edge of the image; None: the side of the
            resized key frame, in pixels
        words: what it is, for people
        template: the prompt template that says it to the model
        key ("bbox_2d"): the key that the model is asked to use
        y_first (False): whether y comes before x
    """

    name: str
    reach: int | None
    words: str
    template: str
    key: str = "bbox_2d"
    y_first: bool = False

    def side(self, key_frame_size: int) -> int:
        """Returns how far the space of the boxes reaches, for a key frame of a size in pixels."""
        return key_frame_size if self.reach is None else self.reach

    def example(self, prompt: str = "box") -> str:
        """Returns what the model is shown as the form of its answer.

        Args:
            prompt ("box"): what it is asked for, see :data:`PROMPTS`
        """
        corners = "y1, x1, y2, x2" if self.y_first else "x1, y1, x2, y2"
        box = f'"{self.key}": [{corners}]'
        point = f'"{self.point_key}": [{"y, x" if self.y_first else "x, y"}]'
        return f'{{{asked_for(prompt, box, point)}, "label": "..."}}'

    def corner(self, number: int) -> str:
        """Returns what the model is told to call a corner: "(x1, y1)" of the number 1."""
        return f"(y{number}, x{number})" if self.y_first else f"(x{number}, y{number})"

    @property
    def point_key(self) -> str:
        """The key that the model is asked to use for a point."""
        return "point" if self.y_first else "point_2d"

    @property
    def asked(self) -> str:
        """What to tell a model whose box was in another order."""
        form = self.example().partition("]")[0].removeprefix("{")
        return f"write {form}], with {'y' if self.y_first else 'x'} first"


_ALL = (
    BoxConvention("pixels", None, "of the picture that it is shown", "coordinates_pixels"),
    BoxConvention("relative-1000", 1000, "0 to 1000 along each side", "coordinates_relative"),
    BoxConvention(
        "relative-1000-y-first",
        1000,
        "the same with y before x, as Gemini and Gemma have it",
        "coordinates_relative",
        key="box_2d",
        y_first=True,
    ),
    BoxConvention("relative-1", 1, "0 to 1 along each side", "coordinates_shares"),
)
BOX_CONVENTIONS = {convention.name: convention for convention in _ALL}

#: What to say in a chain spec where nobody knows the convention of a model
HOW_TO_SAY = 'spec={"box_convention": ...}: ' + ", ".join(
    f'"{convention.name}" ({convention.words})' for convention in _ALL
)


def asked_for(prompt: str, box: str, point: str) -> str:
    """Puts together what a model is asked to write of an object.

    Args:
        prompt: one of :data:`PROMPTS`
        box: the key and value of a box
        point: those of a point
    """
    return {"box": box, "box+point": f"{box}, {point}", "point": point}[prompt]


def find_convention(name: str) -> BoxConvention:
    """Returns the convention of a name.

    Raises:
        ValueError: if there is none
    """
    if name not in tuple(BOX_CONVENTIONS):
        raise ValueError(f"box_convention must be one of {tuple(BOX_CONVENTIONS)}, got {name!r}")
    return BOX_CONVENTIONS[name]
