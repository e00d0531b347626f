import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading

import pytest

from fiftyone_revseg.files import (
    check_writable,
    is_partial,
    locked,
    replacing,
    replacing_folder,
    to_json,
    write_json,
    write_text,
)
from fiftyone_revseg.files import whole as files

LONG = "x" * 255  # the longest name that file systems take


def test_a_file_is_written_into_a_new_directory_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "a" / "b.txt"
    write_text(path, "for the first time")
    write_text(path, "größer")
    assert path.read_text(encoding="utf-8") == "größer"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError("the disk is full"), KeyboardInterrupt()])
def test_what_interrupts_the_writing_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "model.bin"
    path.write_bytes(b"old")

    def write_half():
        with replacing(path) as partial:
            partial.write_bytes(b"ne")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_value_that_json_does_not_know_writes_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "run.json", {"path": tmp_path})
    assert not list(tmp_path.iterdir())
    write_json(tmp_path / "run.json", {"steps": 3}, indent=2)
    assert json.loads((tmp_path / "run.json").read_text()) == {"steps": 3}


def test_numbers_that_are_not_finite_become_null(tmp_path):
    value = {"a": float("nan"), "b": [1.5, (float("inf"), {"c": -float("inf")})], "d": "NaN"}
    write_json(tmp_path / "figures.json", value)
    text = (tmp_path / "figures.json").read_text()
    assert text == '{"a": null, "b": [1.5, [null, {"c": null}]], "d": "NaN"}\n'
    assert to_json({"ü": 0.5}, ensure_ascii=False) == '{"ü": 0.5}'


@pytest.mark.parametrize("name", [LONG, "é" * 127, "lock", "old", "-rf", "a b", ".hidden"])
def test_any_name_that_a_file_may_have_can_be_written(tmp_path, name):
    write_text(tmp_path / name, "content")
    with replacing_folder(tmp_path / "in" / name) as partial:
        (partial / name).write_text("content")
    assert (tmp_path / name).read_text() == "content"
    assert [p.name for p in (tmp_path / "in").rglob("*")] == [name, name]
    assert len(list(tmp_path.iterdir())) == 2


def test_the_file_to_write_to_has_the_name_and_so_the_format_of_its_target(tmp_path):
    with replacing(tmp_path / "curve.png") as partial:
        assert partial.name == "curve.png"
        partial.write_bytes(b"")


@pytest.fixture(params=["exchange", "no exchange"])
def swaps(request, monkeypatch):
    if request.param == "no exchange":
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)


def write_folder(path, names, text="new"):
    with replacing_folder(path) as partial:
        for name in names:
            (partial / name).write_text(text)


def contents(path):
    return {p.name: p.read_text() for p in path.iterdir()}


def test_a_folder_takes_the_place_of_another_one_with_all_that_is_in_it(tmp_path, swaps):
    path = tmp_path / "folder"
    write_folder(path, "abc", "old")
    write_folder(path, "cd")
    assert contents(path) == {"c": "new", "d": "new"}
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_folder(tmp_path, swaps):
    path = tmp_path / "folder"
    write_folder(path, "abc", "old")

    def write_half():
        with replacing_folder(path) as partial:
            (partial / "a").write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert contents(path) == dict.fromkeys("abc", "old")
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_not_replaced_by_a_folder_and_a_link_not_by_what_it_leads_to(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError):
        write_folder(tmp_path / "file", "a")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    write_folder(tmp_path / "link", "a")
    assert contents(tmp_path / "elsewhere") == {"mine": "mine"}
    assert contents(tmp_path / "link") == {"a": "new"}
    assert (tmp_path / "file").read_text() == "mine"


def in_process(function, *arguments):
    """Starts a function in a process of its own, forked: nothing is imported again."""
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    process.start()
    return process


def test_the_old_folder_is_there_whenever_a_writer_is_killed(tmp_path):
    """Killed before and after every call to the system that changes something."""
    path = tmp_path / "folder"

    def write_until(call):
        calls = iter(range(call))

        def counted(function):
            def counting(*args, **kwargs):
                if next(calls, None) is None:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args, **kwargs)

            return counting

        for module, name in ((os, "rename"), (os, "rmdir"), (os, "unlink"), (os, "mkdir")):
            setattr(module, name, counted(getattr(module, name)))
        files._exchange = counted(files._exchange)
        write_folder(path, "cd")

    for call in range(30):
        write_folder(path, "abc", "old")
        process = in_process(write_until, call)
        process.join()
        assert contents(path) in (dict.fromkeys("abc", "old"), dict.fromkeys("cd", "new"))
        if process.exitcode == 0:
            break
    assert call > 5
    write_folder(path, "abc", "old")
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_between_two_renames_is_made_good_by_the_next_writer(tmp_path, monkeypatch):
    path = tmp_path / "folder"
    write_folder(path, "abc", "old")

    def die():
        files._exchange = lambda one, other: False
        rename = os.rename

        def rename_aside(source, target):
            rename(source, target)
            if target.name == files._OLD:
                os.kill(os.getpid(), signal.SIGKILL)

        os.rename = rename_aside
        write_folder(path, "cd")

    process = in_process(die)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not path.exists()

    def fails():
        with replacing_folder(path):
            assert contents(path) == {"c": "new", "d": "new"}
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert contents(path) == {"c": "new", "d": "new"}
    assert list(tmp_path.iterdir()) == [path]


def test_what_killed_writers_left_is_removed_and_what_living_ones_write_is_not(tmp_path):
    path = tmp_path / "file"

    def die():
        with replacing(path) as partial:
            partial.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)

    for _ in range(3):
        process = in_process(die)
        process.join()
    (hidden,) = tmp_path.iterdir()
    assert is_partial(hidden.name)
    assert len(list(hidden.iterdir())) == 1  # the next one has removed what the last one left
    with replacing(path) as slow:
        slow.write_text("slow")
        write_text(path, "quick")
        assert slow.read_text() == "slow"
        assert path.read_text() == "quick"
    assert path.read_text() == "slow"
    assert list(tmp_path.iterdir()) == [path]


def test_a_hidden_file_of_an_earlier_version_is_no_obstacle(tmp_path):
    (tmp_path / ".file.partial").write_text("half")
    write_text(tmp_path / "file", "whole")
    assert contents(tmp_path) == {"file": "whole"}


def write_again_and_again(path, letter, times=150):
    for _ in range(times):
        write_text(path, letter * 20_000)


def test_several_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "file"
    path.write_text("a" * 20_000)
    writers = [in_process(write_again_and_again, path, letter) for letter in "bcd"]
    while any(writer.is_alive() for writer in writers):
        text = path.read_text()
        assert len(text) == 20_000
        assert len(set(text)) == 1
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert list(tmp_path.iterdir()) == [path]


def write_folders_again_and_again(path, letter, swap):
    if not swap:
        files._exchange = lambda one, other: False
    for _ in range(100):
        write_folder(path, "abc", letter)


@pytest.mark.parametrize("swap", [True, False])
def test_several_writers_of_one_folder_do_not_disturb_each_other(tmp_path, swap):
    path = tmp_path / "folder"
    writers = [in_process(write_folders_again_and_again, path, x, swap) for x in "bcd"]
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert contents(path) in [dict.fromkeys("abc", x) for x in "bcd"]
    assert list(tmp_path.iterdir()) == [path]


def test_threads_of_one_process_are_writers_of_their_own(tmp_path):
    path = tmp_path / "file"
    threads = [
        threading.Thread(target=write_again_and_again, args=(path, letter, 50)) for letter in "bcd"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(path.read_text())) == 1
    assert list(tmp_path.iterdir()) == [path]


def count_up(path, times):
    for _ in range(times):
        with locked(path):
            write_text(path, str(int(path.read_text()) + 1))


def test_no_change_is_lost_under_a_lock(tmp_path):
    path = tmp_path / "count"
    path.write_text("0")
    writers = [in_process(count_up, path, 40) for _ in range(3)]
    for writer in writers:
        writer.join()
    assert path.read_text() == "120"


def test_a_lock_of_a_killed_process_is_none(tmp_path):
    def die():
        with locked(tmp_path / "file"):
            os.kill(os.getpid(), signal.SIGKILL)

    in_process(die).join()
    with locked(tmp_path / "file"):
        pass


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    size = "size=1m"
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(disk)], capture_output=True
    ).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        write_text(disk / "file", "old")
        write_folder(disk / "folder", "abc", "old")
        for write in (
            lambda: write_text(disk / "file", "n" * 2_000_000),
            lambda: write_folder(disk / "folder", "abc", "n" * 600_000),
        ):
            with pytest.raises(OSError, match="No space") as found:
                write()
            assert found.value.errno == errno.ENOSPC
        assert sorted(p.name for p in disk.iterdir()) == ["file", "folder"]
        assert (disk / "file").read_text() == "old"
        assert contents(disk / "folder") == dict.fromkeys("abc", "old")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_file_that_is_too_large_for_a_limit_leaves_the_old_one(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    program = (
        "import resource, signal\n"
        "from fiftyone_revseg.files import write_text\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"write_text({str(path)!r}, 'n' * 100_000)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "File too large" in done.stderr
    assert contents(tmp_path) == {"file": "old"}


def test_what_can_be_written_is_found_out_and_nothing_is_left(tmp_path):
    before = tmp_path.stat().st_mtime_ns
    check_writable(tmp_path / "new" / "er" / "file.json", folder=False)
    check_writable(tmp_path / "new")
    check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert tmp_path.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("path", "folder", "reason"),
    [
        ("", False, "it is a folder"),
        ("file", True, "is a file"),
        ("file/under.json", False, "is a file"),
        ("dangling", True, "is a file"),
        ("x" * 256, False, "too long"),
        (f"{'x' * 256}/file", False, "too long"),
        ("/proc/nothing/there", False, ""),
        ("null\0", False, ""),
    ],
)
def test_what_cannot_be_written_is_said(tmp_path, path, folder, reason):
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OSError, match=f"Nothing can be written to .*{reason}"):
        check_writable(tmp_path / path, folder)
