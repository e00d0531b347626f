import gc
import threading

import pytest
from waiting import wait_until

from fiftyone_revseg.prefetch import prefetch


def test_order_is_kept():
    assert list(prefetch(range(1000), 3)) == list(range(1000))
    assert list(prefetch([], 3)) == []


def test_it_runs_in_another_thread_and_never_too_far_ahead():
    made, threads = [], set()

    def items():
        for i in range(50):
            made.append(i)
            threads.add(threading.get_ident())
            yield i

    for i in prefetch(items(), 4):
        assert wait_until(lambda i=i: len(made) >= min(50, i + 1 + 4))  # it does run ahead
        assert len(made) <= i + 1 + 4
    assert threading.get_ident() not in threads


def test_an_exception_crosses_over_after_the_items_before_it():
    def items():
        yield 1
        yield 2
        raise KeyError("lost")

    stream = prefetch(items(), 8)
    assert [next(stream), next(stream)] == [1, 2]
    with pytest.raises(KeyError, match="lost"):
        next(stream)


@pytest.mark.parametrize("how", ["close", "drop", "raise"])
def test_it_stops_when_the_consumer_stops(how):
    closed, before = threading.Event(), threading.active_count()

    def items():
        try:
            i = 0
            while True:
                yield i
                i += 1
        finally:
            closed.set()

    stream = prefetch(items(), 2)
    assert next(stream) == 0
    if how == "close":
        stream.close()
    elif how == "drop":
        del stream
        gc.collect()
    else:
        with pytest.raises(RuntimeError):
            stream.throw(RuntimeError("stop"))
    assert closed.wait(5)
    assert wait_until(lambda: threading.active_count() == before)


def test_nothing_starts_before_the_first_item_is_asked_for():
    before = threading.active_count()
    stream = prefetch(iter([1]), 1)
    assert threading.active_count() == before
    assert list(stream) == [1]


def test_ahead_must_be_positive():
    with pytest.raises(ValueError, match="ahead"):
        prefetch([1], 0)
