"""Where finished tracks break: properties over made-up tracks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiftyone_revseg.masks.mask_track import MaskTrack
from fiftyone_revseg.masks.rle import encode_masks
from fiftyone_revseg.tracking.breaks import (
    KINDS,
    Break,
    find_break,
    frames_to_ask,
    wrong_outlines,
)

WIDTH, HEIGHT, COUNT = 96, 64, 40


def track_of(places, scores=None, side=12):
    """A square at (x, y) in each frame; None where there is no mask."""
    masks = np.zeros((len(places), HEIGHT, WIDTH), bool)
    sides = side if isinstance(side, list) else [side] * len(places)
    for mask, place, size in zip(masks, places, sides, strict=True):
        if place is not None:
            x, y = place
            mask[y : y + size, x : x + size] = True
    rles = encode_masks(masks)
    scores = scores or [0.9 if rle else 0.1 for rle in rles]
    return MaskTrack(0, len(places), (WIDTH, HEIGHT), tuple(rles), tuple(scores))


def moving(count=COUNT, speed=1):
    return [(4 + speed * k, 20) for k in range(count)]


def test_a_track_that_goes_on_has_no_break():
    for speed in (0, 1, 2):
        track = track_of(moving(speed=speed))
        for start in (0, 17, COUNT - 1):
            assert find_break(track, start, 1) is None
            assert find_break(track, start, -1) is None


def test_a_track_that_ends_is_lost():
    track = track_of([place if k < 25 else None for k, place in enumerate(moving())])
    assert find_break(track, 5, 1) == Break("lost", 25, 39, 1)
    assert find_break(track, 5, -1) is None


def test_a_track_that_begins_late_is_lost_backwards():
    track = track_of([place if k >= 10 else None for k, place in enumerate(moving())])
    found = find_break(track, 30, -1)
    assert found == Break("lost", 9, 0, -1)
    assert found.within == (0, 9)


def test_what_comes_back_is_in_doubt_from_where_it_was_lost():
    track = track_of([None if 15 <= k < 22 else place for k, place in enumerate(moving())])
    assert find_break(track, 3, 1) == Break("returns", 15, 39, 1)
    assert find_break(track, 30, -1) == Break("returns", 21, 0, -1)


def test_a_flicker_is_no_break():
    track = track_of([None if k in (15, 16) else place for k, place in enumerate(moving())])
    assert find_break(track, 3, 1) is None
    assert find_break(track, 3, 1, gone=2) == Break("returns", 15, 39, 1)


def test_a_jump_to_another_place_or_size_is_a_break():
    elsewhere = [(x, y + 30 * (k >= 20)) for k, (x, y) in enumerate(moving())]
    assert find_break(track_of(elsewhere), 3, 1) == Break("jump", 20, 39, 1)
    assert find_break(track_of(elsewhere), 30, -1) == Break("jump", 19, 0, -1)
    sides = [8 if k < 20 else 30 for k in range(COUNT)]
    assert find_break(track_of(moving(), side=sides), 3, 1) == Break("jump", 20, 39, 1)


def test_what_moves_fast_throughout_does_not_jump():
    fast = [((17 * k) % 80, 20) for k in range(5)]
    assert find_break(track_of(fast, side=12), 0, 1) is None


def test_what_comes_out_from_behind_something_does_not_jump():
    sides = [12] * 10 + [9, 6, 3, 1, 1, 1, 1, 4, 8, 12] + [12] * 20
    assert find_break(track_of([(20, 20)] * COUNT, side=sides), 0, 1) is None


def test_a_stray_pixel_is_no_jump():
    track = track_of(moving())
    masks = track.masks()
    masks[20:, 60, 90] = True
    rles = tuple(encode_masks(masks))
    stray = MaskTrack(0, COUNT, track.size, rles, track.scores)
    assert find_break(stray, 0, 1) is None


def test_a_score_that_falls_for_long_is_a_break():
    scores = [0.9 if k < 18 else 0.3 for k in range(COUNT)]
    assert find_break(track_of(moving(), scores), 2, 1) == Break("unsure", 18, 39, 1)
    short = [0.3 if 18 <= k < 21 else 0.9 for k in range(COUNT)]
    assert find_break(track_of(moving(), short), 2, 1) is None


def test_a_cut_is_a_break_in_either_direction():
    track = track_of(moving())
    assert find_break(track, 5, 1, cuts=(12,)) == Break("cut", 12, 39, 1)
    assert find_break(track, 30, -1, cuts=(12,)) == Break("cut", 11, 0, -1)
    assert find_break(track, 12, 1, cuts=(12,)) is None  # where it begins
    assert find_break(track, 12, -1, cuts=(12,)) == Break("cut", 11, 0, -1)


def test_frames_that_were_not_tracked_are_not_looked_at():
    track = track_of(moving())
    scores = tuple(s if 5 <= k <= 20 else None for k, s in enumerate(track.scores))
    rles = tuple(r if 5 <= k <= 20 else None for k, r in enumerate(track.rles))
    part = MaskTrack(0, COUNT, track.size, rles, scores)
    assert find_break(part, 10, 1) is None
    assert find_break(part, 10, 1, cuts=(15,)) == Break("cut", 15, 20, 1)
    assert find_break(part, 3, 1) is None  # nothing is known there


def test_wrong_outlines_reach_to_the_next_right_one():
    shown = [0, 8, 16, 24, 32, 39]
    assert wrong_outlines(16, shown, {24}, 40) == [Break("outline", 17, 31, 1)]
    assert wrong_outlines(16, shown, {32, 39}, 40) == [Break("outline", 25, 39, 1)]
    both = wrong_outlines(16, shown, {0, 24, 39}, 40)
    assert both == [
        Break("outline", 17, 31, 1),
        Break("outline", 7, 0, -1),
        Break("outline", 33, 39, 1),
    ]
    assert wrong_outlines(16, shown, {16}, 40) == []
    assert wrong_outlines(16, shown, (), 40) == []


def test_frames_to_ask_move_away_from_the_break():
    track = track_of([place if k < 10 else None for k, place in enumerate(moving(90, 0))])
    lost = find_break(track, 0, 1)
    assert frames_to_ask(track, lost, 12) == (22, 34, 58)
    assert frames_to_ask(track, lost, 12, count=1) == (22,)
    back = track_of([None if 10 <= k < 30 else place for k, place in enumerate(moving(90, 0))])
    returns = find_break(back, 0, 1)
    assert frames_to_ask(back, returns, 12) == (33, 42, 54)
    assert frames_to_ask(track, Break("cut", 80, 89, 1), 12) == (83, 89)
    assert frames_to_ask(track, Break("cut", 3, 0, -1), 12) == (0,)
    assert frames_to_ask(track, Break("cut", 0, 0, -1), 12) == (0,)


@st.composite
def tracks(draw):
    count = draw(st.integers(1, 30))
    places = draw(
        st.lists(
            st.none() | st.tuples(st.integers(0, 80), st.integers(0, 50)),
            min_size=count,
            max_size=count,
        )
    )
    scores = draw(st.lists(st.floats(0, 1), min_size=count, max_size=count))
    return track_of(places, scores)


@settings(max_examples=150, deadline=None)
@given(
    tracks(),
    st.integers(0, 29),
    st.sampled_from([1, -1]),
    st.sets(st.integers(0, 30)),
    st.floats(0.5, 120),
    st.integers(1, 5),
)
def test_whatever_the_track_a_break_lies_ahead_and_so_do_the_frames_to_ask(
    track, start, step, cuts, fps, count
):
    start %= track.frame_count
    found = find_break(track, start, step, cuts)
    if found is None:
        return
    assert found.kind in KINDS
    assert (found.frame - start) * step > 0
    assert found.end == (track.frame_count - 1 if step > 0 else 0)
    first, last = found.within
    frames = frames_to_ask(track, found, fps, count)
    assert 1 <= len(frames) <= count + 1
    assert all(first <= k <= last for k in frames)
    assert list(frames) == sorted(set(frames), reverse=step < 0)
    assert str(found.frame) in found.in_words()


@settings(max_examples=60, deadline=None)
@given(tracks(), st.integers(0, 29), st.sets(st.integers(0, 30)))
def test_a_track_breaks_backwards_as_its_mirror_breaks_forwards(track, start, cuts):
    count = track.frame_count
    start %= count
    mirror = MaskTrack(0, count, track.size, track.rles[::-1], track.scores[::-1])
    found = find_break(track, start, -1, cuts)
    mirrored = find_break(mirror, count - 1 - start, 1, {count - k for k in cuts})
    if found is None:
        assert mirrored is None
    else:
        assert mirrored == Break(found.kind, count - 1 - found.frame, count - 1 - found.end, 1)


def test_every_kind_has_its_words():
    for kind in KINDS:
        assert Break(kind, 7, 9, 1).in_words().endswith(" 7")


@pytest.mark.parametrize("places", [[None, (3, 3)], [(3, 3)]])
def test_where_the_start_has_no_mask_or_no_frame_follows_nothing_can_be_said(places):
    assert find_break(track_of(places), 0, 1) is None
