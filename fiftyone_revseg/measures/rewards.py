"""The rewards of ReVSeg (arXiv 2512.02835): did the chain keep its form, see well, and hit?

Pure functions of replies, areas and boxes. One rollout is rewarded with

    r = r_f + [S1] r_t + [S1 and S2] r_s

where S1 and S2 say whether turn 1 and turn 2 could be used. The paper has one object a query;
several objects and none at all are defined here such that one object is the paper's case.

The verdict on finished tracks, turn 3, is not in the paper. It is rewarded with its form and its
truth, and truth that is not whole, like a box where ``spatial`` is "mask-tiers", by the tier that
its mask IoU reaches, as in VideoSEG-O3 (arXiv 2606.06819).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fiftyone_revseg.masks.boxes import box_iou
from fiftyone_revseg.reasoning.parse import ParseError, parse_boxes, parse_choices
from fiftyone_revseg.reasoning.parse_verdict import parse_verdict

TEMPORAL_VARIANTS = ("soft", "binary", "none")
SPATIAL_VARIANTS = ("box", "mask-tiers")
IOU_THRESHOLD = 0.5
MASK_TIERS = (0.5, 0.7, 0.9)
NEARLY_TRUE = 0.5  # at most, of a verdict that is not the right one


def format_reward(
    turn1_reply: str,
    turn2_reply: str | None,
    frame_count: int,
    convention: str = "relative-1000",
    key_frame_size: int = 1000,
    source_size: tuple[int, int] = (1000, 1000),
) -> float:
    """Rewards the form of both replies, whatever they say.

    r_f = (rules met) / (rules that apply). The rules: turn 1 has a thought in ``<think>`` tags; its
    answer stands in ``<answer>`` tags; the answer holds, as JSON, a frame that was shown and a
    description; turn 2 holds a box as JSON. The last one applies unless turn 1 answered with the
    empty list, "no such object": nothing is asked then.

    Args:
        turn1_reply: the model's text in turn 1
        turn2_reply: the model's text in turn 2; None if there was none
        frame_count: the number of frames that were shown in turn 1
        convention ("relative-1000"): the space of the boxes, see
            :func:`fiftyone_revseg.reasoning.parse_boxes`
        key_frame_size (1000): the side of the key frame that was shown, in pixels
        source_size ((1000, 1000)): the ``(width, height)`` of the source frames, in pixels

    Returns:
        a value in [0, 1]
    """
    refused = False
    try:
        refused = not parse_choices(turn1_reply, frame_count, strict=True)
        readable = True
    except ParseError:
        readable = False
    rules = [_tagged(turn1_reply, "think"), _tagged(turn1_reply, "answer"), readable]
    if not refused:
        rules.append(
            turn2_reply is not None
            and _has_box(turn2_reply, convention, key_frame_size, source_size)
        )
    return sum(rules) / len(rules)


def temporal_reward(areas: Sequence[float], k: int | None, variant: str = "soft") -> float:
    """Rewards a key frame by how large the object is in it.

    With S_t the area of the object's true box in sampled frame t, 0 where it is absent:

    * "soft": r_t = [S_k > 0] (S_k - min_t S_t) / (max_t S_t - min_t S_t). If all areas are equal
      this is 0/0: 1, where the object is present
    * "binary", the paper's 0-1 reward: r_t = [S_k > 0]
    * "none", its ablation: r_t = 0

    Args:
        areas: S_t for each sampled frame
        k: the chosen index into the sampled frames; None if no frame was chosen
        variant ("soft"): one of :data:`TEMPORAL_VARIANTS`

    Returns:
        a value in [0, 1]. To choose no frame is right, and gives 1 (but for "none"), if the
        object is in none of them

    Raises:
        ValueError: if the variant is not known, or ``k`` is none of the sampled frames
    """
    if variant not in TEMPORAL_VARIANTS:
        raise ValueError(f"variant must be one of {TEMPORAL_VARIANTS}, got {variant!r}")
    if k is not None and not 0 <= k < len(areas):
        raise ValueError(f"k is {k}, but the sampled frames are 0 to {len(areas) - 1}")
    if variant == "none":
        return 0.0
    if k is None:
        return float(not any(area > 0 for area in areas))
    if not areas[k] > 0:
        return 0.0
    low, high = min(areas), max(areas)
    if variant == "binary" or low == high:
        return 1.0
    return float((areas[k] - low) / (high - low))


def temporal_reward_several(
    areas: Sequence[Sequence[float]], ks: Sequence[int], variant: str = "soft"
) -> float:
    """Rewards the key frames of several objects.

    r_t = (the best sum of r_t over pairs of an answer and an object) / max(answers, objects): each
    answer counts for one object at most, and both a missing and a needless one cost. For one
    answer and one object this is :func:`temporal_reward`.

    Args:
        areas: for each object, its areas; [] if there is no such object
        ks: the chosen sampled frames, one for each answer; [] if the model says so too
        variant ("soft"): one of :data:`TEMPORAL_VARIANTS`

    Returns:
        a value in [0, 1]
    """
    if not areas and not ks:
        return temporal_reward([], None, variant)
    gains = [[temporal_reward(object_areas, k, variant) for object_areas in areas] for k in ks]
    return _matched(gains) / max(len(areas), len(ks))


def spatial_reward(
    boxes: Sequence[Sequence[float]],
    true_boxes: Sequence[Sequence[float]],
    threshold: float = IOU_THRESHOLD,
) -> float:
    """Rewards boxes that hit.

    r_s = (matches) / max(boxes, true boxes), where the matching of boxes with true boxes is the
    one with the most pairs of IoU > threshold. For one box and one object this is the paper's
    r_s = [IoU > 0.5].

    Args:
        boxes: ``(x1, y1, x2, y2)`` of each answer, in any space
        true_boxes: those of the objects, in the same space
        threshold (0.5): the IoU that has to be exceeded

    Returns:
        a value in [0, 1]; 1 if there is no box and no object
    """
    if not len(boxes) and not len(true_boxes):
        return 1.0
    gains = [[float(box_iou(box, true) > threshold) for true in true_boxes] for box in boxes]
    return _matched(gains) / max(len(boxes), len(true_boxes))


def mask_tiers(iou: float, tiers: Sequence[float] = MASK_TIERS) -> float:
    """Rewards a mask by how well it fits: the share of the tiers that its IoU exceeds.

    Tiers of mask IoU are the spatial reward of VideoSEG-O3 (arXiv 2606.06819), where a box that
    hits is not yet a good one. Here each tier is worth the same.

    Args:
        iou: of the mask and the true one, in [0, 1]
        tiers ((0.5, 0.7, 0.9)): the IoUs that have to be exceeded

    Returns:
        a value in [0, 1]
    """
    return sum(iou > tier for tier in tiers) / len(tiers)


def verdict_format_reward(
    reply: str, object_count: int, picture_count: int, thinks: bool = True
) -> float:
    """Rewards the form of a verdict, whatever it says.

    As for the other turns it is (rules met) / (rules that apply). The rules: there is a thought in
    ``<think>`` tags; the answer stands in ``<answer>`` tags; it can be read, and names only
    objects and pictures that were shown.

    Args:
        reply: the model's text in turn 3
        object_count: the number of objects that were shown
        picture_count: the number of pictures that were shown
        thinks (True): whether a thought is asked for. Else the last rule alone applies

    Returns:
        a value in [0, 1]
    """
    try:
        parse_verdict(reply, object_count, picture_count)
        rules = [True]
    except ParseError:
        rules = [False]
    if thinks:
        rules += [_tagged(reply, "think"), _tagged(reply, "answer")]
    return sum(rules) / len(rules)


def verdict_reward(chosen: Collection[int], right: Collection[int], iou: float) -> float:
    """Rewards the truth of a verdict.

    r_v = 1 if the chosen objects are exactly those that the query means among the shown ones: if
    none of them is, to choose none. Else 0.5 :func:`mask_tiers` of what the chosen tracks cover
    together, so that a set that is nearly right earns something, but never as much as the right
    one, and never by choosing everything.

    Args:
        chosen: the numbers of the chosen objects
        right: the numbers of the shown objects whose tracks are of what the query means
        iou: of the union of the chosen tracks with the true masks, over all frames of the video;
            see :func:`fiftyone_revseg.masks.overlap.video_iou`

    Returns:
        a value in [0, 1]
    """
    if set(chosen) == set(right):
        return 1.0
    return NEARLY_TRUE * mask_tiers(iou) if chosen else 0.0


def total_reward(
    format: float, temporal: float, spatial: float, turn1_ok: bool = True, turn2_ok: bool = True
) -> float:
    """Adds up the rewards of a rollout: r = r_f + [S1] r_t + [S1 and S2] r_s.

    Args:
        format: r_f
        temporal: r_t
        spatial: r_s
        turn1_ok (True): S1, whether turn 1's answer could be used; "no such object" can
        turn2_ok (True): S2, whether turn 2's could, or none was needed

    Returns:
        a value in [0, 3]
    """
    return format + (temporal if turn1_ok else 0.0) + (spatial if turn1_ok and turn2_ok else 0.0)


def _tagged(reply: str, tag: str) -> bool:
    """Whether a tag is opened, and closed behind that."""
    opened = reply.find(f"<{tag}>")
    return opened >= 0 and reply.find(f"</{tag}>", opened) >= 0


def _has_box(reply: str, convention: str, side: int, source_size: tuple[int, int]) -> bool:
    try:
        return bool(parse_boxes(reply, convention, side, source_size, strict=True))
    except ParseError:
        return False


def _matched(gains: Sequence[Sequence[float]]) -> float:
    """The largest sum of gains over pairs of a row and a column, each used once at most."""
    if not gains or not gains[0]:
        return 0.0
    if len(gains) == 1:  # scipy takes a second to import, and most queries mean one object
        return max(gains[0])
    if len(gains[0]) == 1:
        return max(row[0] for row in gains)
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(gains, maximize=True)
    return float(sum(gains[i][j] for i, j in zip(rows, columns, strict=True)))
