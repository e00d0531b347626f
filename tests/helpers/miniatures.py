"""Miniatures of the benchmarks, in their exact layouts, with everything that is true about them.

They have what is hard about the real ones: names with slashes, null masks, objects that hide,
frame numbers with gaps, several annotators, palette images with void regions, expressions without
an object, objects without an expression, and videos that belong to another split.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from fiftyone_revseg.dataset.expressions import Expression
from fiftyone_revseg.masks.rle import encode_masks

SIZE = (48, 32)  # (width, height)
SPLITS = {
    "revos": ("valid",),
    "reasonvos": ("test",),
    "mevis": ("valid_u", "valid"),
    "ref-youtube-vos": ("train", "valid"),
    "ref-davis17": ("valid",),
    "lv-vis": ("train",),
}
ANNOTATORS = ("0", "1", "2", "3")


@dataclass
class MiniatureVideo:
    """What is true about a video.

    Attributes:
        frame_names: of its images
        masks: object number, 1-based -> (T, H, W) bool
        expressions: as they should be imported
        labels: object number -> category
        void: (T, H, W) bool, or None
        foreground: (T, H, W) bool, or None
        unannotated: indices of frames whose truth is not known
    """

    frame_names: list[str]
    masks: dict[int, np.ndarray]
    expressions: list[Expression]
    labels: dict[int, str] = field(default_factory=dict)
    void: np.ndarray | None = None
    foreground: np.ndarray | None = None
    unannotated: tuple[int, ...] = ()


@dataclass
class Miniature:
    """A miniature of a benchmark.

    Attributes:
        name: of the benchmark
        split: which split was written
        root: what to import
        images: the folder with the images
        meta: the file with the expressions
        videos: name -> what is true about it
        has_truth: whether masks were written
    """

    name: str
    split: str
    root: Path
    images: Path
    meta: Path
    videos: dict[str, MiniatureVideo]
    has_truth: bool = True

    def union(self, video: str, expression: Expression) -> np.ndarray:
        """(T, H, W) bool: the truth of an expression."""
        masks = self.videos[video].masks
        empty = np.zeros((len(self.videos[video].frame_names), SIZE[1], SIZE[0]), bool)
        return np.any([empty, *(masks[number] for number in expression.objects or ())], axis=0)


def write_miniature(name: str, root: str | Path, split: str | None = None) -> Miniature:
    """Writes the miniature of a benchmark; one of several splits can be asked for."""
    writers = {
        "revos": _revos,
        "reasonvos": _reasonvos,
        "mevis": _mevis,
        "ref-youtube-vos": _ref_youtube_vos,
        "ref-davis17": _ref_davis17,
        "lv-vis": _lv_vis,
    }
    return writers[name](Path(root), split or SPLITS[name][0])


def moving(count: int, number: int, hidden: tuple[int, ...] = ()) -> np.ndarray:
    """(T, H, W) bool: a block that moves, at a place of its own for each number."""
    masks = np.zeros((count, SIZE[1], SIZE[0]), bool)
    for k in range(count):
        if k not in hidden:
            x, y = 2 + 3 * k, 1 + 9 * (number - 1)
            masks[k, y : y + 7, x : x + 8] = True
            masks[k, y, x] = False  # not all of its box
    return masks


def numbered(count: int, step: int = 1, start: int = 0, form: str = "{:05d}") -> list[str]:
    """Names of frames."""
    return [form.format(start + step * k) for k in range(count)]


def _mevis(root: Path, split: str) -> Miniature:
    names = {"0ab4afe7fb46": (6, (2, 3)), "1fea0cb75a25": (4, ())}
    videos = {}
    for name, (count, hidden) in names.items():
        videos[name] = MiniatureVideo(
            frame_names=numbered(count),
            masks={1: moving(count, 1), 2: moving(count, 2, hidden), 3: moving(count, 3)},
            labels=dict.fromkeys((1, 2, 3), "object"),
            expressions=[
                Expression("0", "The bird flying away", (2,), "one_object"),
                Expression("1", "two birds standing still", (1, 3), "several_objects"),
                Expression("2", "a cat walking", (), "no_target"),
            ],
        )
    return _write_mask_dictionary("mevis", root / split, split, videos, root, split != "valid")


def _lv_vis(root: Path, split: str) -> Miniature:
    videos = {
        "00042": MiniatureVideo(
            frame_names=numbered(4, step=3),
            masks={1: moving(4, 1), 2: moving(4, 2, (0,))},
            labels={1: "object", 2: "object"},
            expressions=[
                Expression("0", "polar bear", (1, 2), "several_objects"),
                Expression("1", "fire truck", (2,), "one_object"),
            ],
        )
    }
    miniature = _write_mask_dictionary("lv-vis", root / split, split, videos, root)
    meta = json.loads(miniature.meta.read_text())
    for entry in meta["videos"]["00042"]["expressions"].values():
        entry["exp"] = entry["exp"].replace(" ", "_")  # categories are written like that
    miniature.meta.write_text(json.dumps(meta))
    return miniature


def _revos(root: Path, split: str) -> Miniature:
    kinds = {"referring": 0, "reasoning": 1, "no_target": 2}
    videos = {}
    for name, count in {"UVO/video/clip-1": 5, "TAO/train/AVA/clip_2": 4}.items():
        masks = {1: moving(count, 1), 2: moving(count, 2, (1,))}
        videos[name] = MiniatureVideo(
            frame_names=numbered(count, step=2, start=1, form="{:06d}"),
            masks=masks,
            labels={1: "object", 2: "object"},
            expressions=[
                Expression("0", "the dog on the left", (1,), "referring"),
                Expression("1", "which animals could guard the house?", (1, 2), "reasoning"),
                Expression("2", "which one would win a swimming race?", (2,), "reasoning"),
                Expression("3", "what can be used to cook?", (), "no_target"),
            ],
            # One object is there that no expression asks for
            foreground=masks[1] | masks[2] | moving(count, 3),
        )
    miniature = _write_mask_dictionary("revos", root, split, videos, root)
    meta = json.loads(miniature.meta.read_text())
    foreground = {}
    for name, video in videos.items():
        entries = meta["videos"][name]
        entries.update(width=SIZE[0], height=SIZE[1], vid_id=len(foreground))
        for entry, expression in zip(
            entries["expressions"].values(), video.expressions, strict=True
        ):
            entry["type_id"] = kinds[expression.kind]
        foreground[name] = {"masks_rle": encode_masks(video.foreground)}
    miniature.meta.unlink()
    miniature.meta = root / f"meta_expressions_{split}_.json"
    miniature.meta.write_text(json.dumps(meta))
    (root / "mask_dict_foreground.json").write_text(json.dumps(foreground))
    return miniature


def _write_mask_dictionary(
    name: str,
    folder: Path,
    split: str,
    videos: dict[str, MiniatureVideo],
    root: Path,
    has_truth: bool = True,
) -> Miniature:
    meta, masks, anno_id = {}, {}, 70
    for video_name, video in videos.items():
        _write_images(folder / "JPEGImages" / video_name, video.frame_names)
        ids = {}
        for number, mask in video.masks.items():
            ids[number], anno_id = str(anno_id), anno_id - 1  # not in the order of the objects
            masks[ids[number]] = encode_masks(mask)
        entries = {}
        for expression in video.expressions:
            entries[expression.id] = {"exp": expression.text}
            if has_truth:
                entries[expression.id]["obj_id"] = [n - 1 for n in expression.objects]
                entries[expression.id]["anno_id"] = [int(ids[n]) for n in expression.objects]
        meta[video_name] = {"expressions": entries, "frames": video.frame_names}
    if has_truth:
        (folder / "mask_dict.json").write_text(json.dumps(masks))
    else:
        _forget_truth(videos)
    path = folder / "meta_expressions.json"
    path.write_text(json.dumps({"videos": meta}))
    return Miniature(name, split, root, folder / "JPEGImages", path, videos, has_truth)


def _reasonvos(root: Path, split: str) -> Miniature:
    sources = {"a1b2c3": "MOSE", "Charades_x_7": "BURST"}
    videos = {}
    for name, form in {"a1b2c3": "{:05d}", "Charades_x_7": "frame{:04d}"}.items():
        count = 5
        videos[name] = MiniatureVideo(
            frame_names=numbered(count, start=1, form=form),
            masks={1: moving(count, 1, (4,)), 2: moving(count, 2)},
            labels={1: "object", 2: "object"},
            expressions=[
                Expression("0", "Which animal would win a race?", (1,), "sentence"),
                Expression("1", "the fastest animal", (1,), "phrase"),
                Expression("2", "What is it running away from?", (2,), "sentence"),
            ],
        )
    own_ids = {1: "3", 2: "11"}  # the benchmark's, of the objects
    meta = {}
    for name, video in videos.items():
        _write_images(root / "JPEGImages" / name, video.frame_names)
        for number, masks in video.masks.items():
            folder = root / "Annotations" / f"{sources[name]}_{name}_{own_ids[number]}"
            folder.mkdir(parents=True)
            for frame_name, mask in zip(video.frame_names, masks, strict=True):
                Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{frame_name}.png")
        meta[name] = {
            "source": sources[name],
            "expressions": [
                {
                    "obj_id": int(own_ids[expression.objects[0]]),
                    "exp_id": int(expression.id),
                    "exp_text": expression.text,
                    "is_sent": expression.kind == "sentence",
                }
                for expression in video.expressions
            ],
        }
    path = root / "meta_expressions.json"
    path.write_text(json.dumps({"videos": meta}))
    return Miniature("reasonvos", split, root, root / "JPEGImages", path, videos)


def _ref_youtube_vos(root: Path, split: str) -> Miniature:
    videos = {}
    for name, start in {"003234408d": 0, "0043f083b5": 15}.items():
        videos[name] = MiniatureVideo(
            frame_names=numbered(5, step=5, start=start),
            masks={1: moving(5, 1), 2: moving(5, 2, (0, 1))},
            labels={1: "penguin", 2: "person"},
            expressions=[
                Expression("0", "a penguin on the left in the front", (1,)),
                Expression("1", "a person walking behind", (2,)),
                Expression("2", "the man in a red coat", (2,)),
            ],
        )
    has_truth = split == "train"
    miniature = _write_palette("ref-youtube-vos", root, split, videos, has_truth)
    if not has_truth:
        # The official file of "valid" lists the videos of "test", too, which have no images there
        meta = json.loads(miniature.meta.read_text())
        other = {"expressions": {"0": {"exp": "a dog"}}, "frames": ["00000"]}
        meta["videos"]["fffabcdef0"] = other
        miniature.meta.write_text(json.dumps(meta))
        test = root / "meta_expressions" / "test" / "meta_expressions.json"
        test.parent.mkdir()
        test.write_text(json.dumps({"videos": {"fffabcdef0": other}}))
    return miniature


def _ref_davis17(root: Path, split: str) -> Miniature:
    void = np.zeros((6, SIZE[1], SIZE[0]), bool)
    void[2, 28:31, 40:46] = True
    texts = {
        1: ["a brown dog", "a dog jumping over a bar", "the dog", "a dog that jumps"],
        2: ["a woman in blue", "a woman running beside a dog", "the woman", "a running woman"],
    }
    videos = {}
    for name, numbers in {"dog-agility": (1, 2), "blackswan": (1,)}.items():
        expressions = [
            Expression(
                str(4 * (number - 1) + int(annotator)),
                texts[number][int(annotator)],
                (number,),
                ("first_frame", "full_video")[int(annotator) % 2],
                annotator,
            )
            for number in numbers
            for annotator in ANNOTATORS
        ]
        videos[name] = MiniatureVideo(
            frame_names=numbered(6),
            masks={n: moving(6, n, (5,) if n == 2 else ()) for n in numbers},
            labels={n: ("dog", "person")[n - 1] for n in numbers},
            expressions=expressions,
            void=void if name == "dog-agility" else None,
        )
    return _write_palette("ref-davis17", root, split, videos)


def _write_palette(
    name: str,
    root: Path,
    split: str,
    videos: dict[str, MiniatureVideo],
    has_truth: bool = True,
) -> Miniature:
    meta, categories = {}, {}
    for video_name, video in videos.items():
        _write_images(root / split / "JPEGImages" / video_name, video.frame_names)
        entries = {}
        for expression in video.expressions:
            entries[expression.id] = {"exp": expression.text}
            if has_truth:
                entries[expression.id]["obj_id"] = str(expression.objects[0])
        meta[video_name] = {"expressions": entries, "frames": video.frame_names}
        categories[video_name] = {
            "objects": {str(n): {"category": label} for n, label in video.labels.items()}
        }
        if has_truth:
            _write_numbers(root / split / "Annotations" / video_name, video)
    if has_truth:
        (root / split / "meta.json").write_text(json.dumps({"videos": categories}))
    else:
        _forget_truth(videos)
    path = root / "meta_expressions" / split / "meta_expressions.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"videos": meta}))
    images = root / split / "JPEGImages"
    return Miniature(name, split, root, images, path, videos, has_truth)


def _write_numbers(folder: Path, video: MiniatureVideo) -> None:
    """Palette images: the value of a pixel is the number of its object."""
    folder.mkdir(parents=True)
    for k, frame_name in enumerate(video.frame_names):
        numbers = np.zeros((SIZE[1], SIZE[0]), np.uint8)
        for number, masks in video.masks.items():
            numbers[masks[k]] = number
        if video.void is not None:
            numbers[video.void[k]] = 255
        picture = Image.fromarray(numbers, "P")
        # All 256 colors: with fewer, Pillow writes fewer bits, and 255 would become another value
        picture.putpalette([0, 0, 0, 236, 95, 103, 249, 145, 87, *([128] * 3 * 253)])
        picture.save(folder / f"{frame_name}.png")


def _write_images(folder: Path, frame_names: list[str]) -> None:
    folder.mkdir(parents=True)
    for k, frame_name in enumerate(frame_names):
        picture = np.full((SIZE[1], SIZE[0], 3), 40 * k % 256, np.uint8)
        Image.fromarray(picture).save(folder / f"{frame_name}.jpg", quality=95)


def _forget_truth(videos: dict[str, MiniatureVideo]) -> None:
    """What only a server knows cannot be imported."""
    for video in videos.values():
        video.expressions = [Expression(e.id, e.text, None) for e in video.expressions]
        video.labels = {}
