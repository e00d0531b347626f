"""Scene cuts, seen while frames are walked."""

import numpy as np
import pytest

from fiftyone_revseg.synthetic import make_broken_world, make_world
from fiftyone_revseg.video.cuts import CutFinder, WatchedVideo


class Frames:
    def __init__(self, frames):
        self.frames = frames
        self.size = frames[0].shape[1::-1]
        self.closed = 0

    def __len__(self):
        return len(self.frames)

    def walk(self, start, step=1):
        try:
            for k in range(start, len(self) if step > 0 else -1, step):
                yield k, self.frames[k]
        finally:
            self.closed += 1


def cuts_of(frames, start=0):
    finder = CutFinder()
    video = WatchedVideo(Frames(frames), finder)
    for step in (1, -1):
        for k, frame in video.walk(start, step):
            assert frame is frames[k]
    return finder.cuts


@pytest.mark.parametrize("seed", range(4))
def test_a_cut_is_found_wherever_the_walk_begins(seed):
    world = make_broken_world(seed, "cut")
    frames = list(world.render()[0])
    for start in (0, world.first - 1, world.first, len(frames) - 1):
        assert cuts_of(frames, start) == world.cuts


@pytest.mark.parametrize("seed", range(4))
def test_what_moves_is_no_cut(seed):
    assert cuts_of(list(make_world(seed, "test").render()[0])) == ()
    assert cuts_of(list(make_broken_world(seed, "occlusion").render()[0])) == ()


def test_an_object_that_appears_all_at_once_is_no_cut():
    world = make_world(31011, "test")
    frames = [world.draw(k)[0] for k in range(3, 10)]
    assert np.abs(frames[3].astype(int) - frames[2]).mean() > 5
    assert cuts_of(frames) == ()


def scene(seed):
    return (
        np.random.default_rng(seed)
        .integers(0, 255, (12, 16, 3), np.uint8)
        .repeat(8, 0)
        .repeat(8, 1)
    )


def test_flashes_pans_fades_and_noise_are_no_cuts():
    still = scene(0)
    flash = [still] * 10 + [np.full_like(still, 250)] + [still] * 10
    assert cuts_of(flash) == ()
    wide = np.concatenate([scene(1), scene(2), scene(3)], axis=1)
    assert cuts_of([wide[:, 6 * k : 6 * k + 128] for k in range(40)]) == ()
    fade = [(still * (1 - k / 20)).astype(np.uint8) for k in range(20)]
    assert cuts_of(fade) == ()
    rng = np.random.default_rng(0)
    noisy = [rng.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(20)]
    assert cuts_of(noisy) == ()


def test_several_cuts_and_a_video_of_one_frame():
    frames = [scene(k // 7) for k in range(28)]
    assert cuts_of(frames) == (7, 14, 21)
    assert cuts_of(frames[:1]) == ()


def test_a_walk_that_is_given_up_is_closed():
    video = Frames([scene(0)] * 5)
    walk = WatchedVideo(video, CutFinder()).walk(0)
    next(walk)
    walk.close()
    assert video.closed == 1
