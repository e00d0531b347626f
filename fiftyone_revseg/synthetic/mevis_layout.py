"""Made-up worlds in the layout of MeViS, so that they are read, scored and reported like it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fiftyone_revseg.files import remove_leftovers, replacing_folder, write_json
from fiftyone_revseg.masks.rle import RLE, encode_masks
from fiftyone_revseg.synthetic.world import make_world
from fiftyone_revseg.synthetic.world_files import chosen_queries

Progress = Callable[[str, int, int], None]


def write_mevis(
    directory: str | Path,
    split: str = "test",
    count: int = 200,
    queries: int = 3,
    progress: Progress | None = None,
) -> Path:
    """Writes videos as folders of images, with their queries and exact masks; keeps what is there.

    The files are those of MeViS: ``SPLIT/JPEGImages/VIDEO/00000.jpg``, ``SPLIT/mask_dict.json``
    and ``SPLIT/meta_expressions.json``. Beside what MeViS has, an expression has a ``kind``, so
    that results can be grouped by it. The file with the expressions is written last: where it is,
    everything is.

    Args:
        directory: where to write; created if missing
        split ("test"): "train", "val" or "test": disjoint worlds
        count (200): the number of videos
        queries (3): questions about each video, of different kinds where there are enough
        progress (None): called with "write", the number of videos written, and of all

    Returns:
        the path of ``directory``

    Raises:
        ValueError: if there is no such split
    """
    folder = Path(directory) / split
    videos: dict[str, Any] = {}
    masks: dict[str, list[RLE | None]] = {}
    for number in range(count):
        world = make_world(number, split)
        name = f"{split}_{number:06d}"
        pictures, visible = world.render()
        _write_images(folder / "JPEGImages" / name, pictures)
        anno_ids = []
        for body in visible:
            anno_ids.append(len(masks))
            masks[str(anno_ids[-1])] = encode_masks(body)
        expressions = {
            str(i): {
                "exp": query.text,
                "obj_id": list(query.targets),
                "anno_id": [anno_ids[target] for target in query.targets],
                "kind": query.kind,
            }
            for i, query in enumerate(chosen_queries(world, queries))
        }
        videos[name] = {
            "expressions": expressions,
            "frames": [f"{k:05d}" for k in range(len(pictures))],
            "width": world.width,
            "height": world.height,
        }
        if progress is not None:
            progress("write", len(videos), count)
    write_json(folder / "mask_dict.json", masks)
    write_json(folder / "meta_expressions.json", {"videos": videos})
    return Path(directory)


def _write_images(folder: Path, pictures: np.ndarray) -> None:
    """Writes a folder of images as a whole or not at all."""
    from PIL import Image

    if folder.exists():
        remove_leftovers(folder)
        return
    with replacing_folder(folder) as partial:
        for k, picture in enumerate(pictures):
            # Colors tell the bodies apart, so they are kept at full resolution
            Image.fromarray(picture).save(partial / f"{k:05d}.jpg", quality=95, subsampling=0)
