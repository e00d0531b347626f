"""Which features of frames are held, and which have to go."""

import gc
import weakref

import pytest
import torch

from fiftyone_revseg.tracking.held_features import HeldFeatures, bytes_of
from fiftyone_revseg.tracking.memory import FrameFeatures


class Film:
    """Stands for a video."""


def features(number):
    maps = torch.full((1, 2, 4, 4), float(number))
    return FrameFeatures([maps], [maps], [(4, 4)])


SIZE = bytes_of(features(0))


def number_of(held, video, k):
    found = held.get(video, k)
    return None if found is None else int(found.maps[0].flatten()[0])


def test_what_nobody_needs_is_not_held():
    held, film = HeldFeatures(10 * SIZE), Film()
    held.keep(film, 0, features(0), is_needed=False)
    held.keep(film, 1, features(1), is_needed=True)
    assert (number_of(held, film, 0), number_of(held, film, 1)) == (None, 1)
    assert held.needed(film) == [1]
    held.done(film, 1)
    assert number_of(held, film, 1) is None
    assert held.room == 10 * SIZE


def test_spare_ones_stay_until_there_is_need():
    held, film = HeldFeatures(2 * SIZE, spare=True), Film()
    for k in range(3):
        held.keep(film, k, features(k), is_needed=False)
    assert [number_of(held, film, k) for k in range(3)] == [0, 1, None]
    held.keep(film, 3, features(3), is_needed=True)
    assert [number_of(held, film, k) for k in range(4)] == [None, 1, None, 3]
    held.keep(film, 4, features(4), is_needed=True)
    held.keep(film, 5, features(5), is_needed=True)  # no room, and nothing that may go
    assert [number_of(held, film, k) for k in range(6)] == [None, None, None, 3, 4, None]
    held.done(film, 3)
    assert number_of(held, film, 3) == 3
    assert held.needed(film) == [4]
    held.release(film)
    assert held.room == 2 * SIZE
    assert number_of(held, film, 3) is None


def test_videos_are_told_apart_even_if_one_takes_the_place_of_another_in_memory():
    held, film = HeldFeatures(10 * SIZE, spare=True), Film()
    held.keep(film, 0, features(7), is_needed=False)
    seen = weakref.ref(film)
    del film
    gc.collect()
    assert seen() is not None  # held, so that no other video can have its id
    assert all(held.get(Film(), 0) is None for _ in range(100))
    held.release(seen())
    gc.collect()
    assert seen() is None


@pytest.mark.parametrize("spare", [True, False])
def test_clearing_lets_go_of_everything(spare):
    held, one, other = HeldFeatures(10 * SIZE, spare), Film(), Film()
    held.keep(one, 0, features(0), is_needed=True)
    held.keep(other, 0, features(1), is_needed=spare)
    held.clear()
    assert held.room == 10 * SIZE
