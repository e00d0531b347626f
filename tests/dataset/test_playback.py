"""What the App shows of a video, computed from the times of its frames.

The numbers here were measured in Chromium, by bar codes read from what it shows.
"""

import subprocess
from fractions import Fraction
from types import SimpleNamespace

import fiftyone as fo
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from timed_videos import encode

from fiftyone_revseg.cli import main
from fiftyone_revseg.dataset.playback import measure_playback, pictures_shown
from fiftyone_revseg.dataset.playback_fields import FRAMES_OFF, PROBLEM, mark_playback
from fiftyone_revseg.dataset.prompt_boxes import misplaced, refuse_misplaced
from fiftyone_revseg.dataset.views import make_view
from fiftyone_revseg.video import open_video

STEADY = [40 * k for k in range(50)]
PHONE = [33 * k for k in range(40)] + [33 * 40 + 67 * k for k in range(20)]  # light, then dark


@given(
    count=st.integers(1, 500),
    rate=st.sampled_from([24000 / 1001, 25, 30000 / 1001, 30, 50, 60000 / 1001, 120]),
    late=st.floats(0, 0.009),
)
def test_constant_rates_are_right(count, rate, late):
    times = np.arange(count) / rate + late / rate
    assert pictures_shown(times, rate).tolist() == list(range(1, count + 1))


@given(gaps=st.lists(st.integers(1, 200), min_size=1, max_size=60), rate=st.floats(1, 200))
def test_shown_is_the_last_picture_that_has_begun(gaps, rate):
    times = np.cumsum([0, *gaps]) / 1000
    for number, picture in enumerate(pictures_shown(times, rate), start=1):
        sought = (number - 0.99) / rate
        assert times[picture - 1] <= sought
        assert picture == len(times) or times[picture] > sought


def test_a_late_start_is_measured_in_frames():
    # 0.5 s at 25 frames a second: frame 14 is sought at 0.5204 s, where picture 1 has begun
    pictures = pictures_shown(np.arange(30) / 25 + 0.5, 25)
    assert pictures.tolist() == [1] * 13 + list(range(1, 18))


@pytest.mark.parametrize(
    ("name", "stamps", "options"),
    [
        ("steady.mp4", STEADY, {}),
        ("steady.mkv", STEADY, {}),
        ("steady.webm", STEADY, {"codec": "libvpx-vp9"}),
        ("ntsc.mp4", [1001 * k for k in range(90)], {"time_base": Fraction(1, 30000)}),
        ("ntsc.mkv", [round(1001 * k / 30) for k in range(90)], {"rate": Fraction(30000, 1001)}),
        ("sound.mp4", STEADY, {"sound": 3}),
        ("aspect.mp4", STEADY, {"aspect": Fraction(64, 45)}),
        ("b_frames.mp4", STEADY, {"options": {"bf": "3", "crf": "12"}}),
        ("single.mp4", [0], {}),
    ],
)
def test_no_false_alarm(tmp_path, name, stamps, options):
    playback = measure_playback(encode(tmp_path / name, stamps, **options))
    assert playback.problem == ""
    assert playback.pictures.tolist() == list(range(1, len(stamps) + 1))


@pytest.mark.parametrize("options", [["-ss", "0.7"], ["-metadata:s:v", "rotate=90"]])
def test_edit_lists_and_rotation_are_no_false_alarm(tmp_path, options):
    source, path = encode(tmp_path / "a.mp4", STEADY), str(tmp_path / "b.mp4")
    before, after = (options, []) if options[0] == "-ss" else ([], options)
    command = ["ffmpeg", "-loglevel", "error", *before, "-i", source, "-c", "copy", *after, path]
    subprocess.run(command, check=True)
    assert measure_playback(path).problem == ""


def test_a_frame_rate_that_varies(tmp_path):
    path = encode(tmp_path / "phone.mp4", PHONE)
    playback = measure_playback(path)
    # FiftyOne takes 60 frames in 2.66 s for constant
    rate = fo.core.metadata.VideoMetadata.build_for(path).frame_rate
    assert rate == pytest.approx(22.85, abs=0.01)
    # Frame 31 is sought at 30.01 / 22.85 = 1.3134 s, picture 40 is shown from 1.287 s on
    assert playback.picture_of(31) == 40
    # Frame 41 at 1.7511 s, picture 47 from 1.320 + 6 * 0.067 = 1.722 s on
    assert playback.picture_of(41) == 47
    assert playback.frames_off == 9
    assert playback.share_wrong == 0.9
    assert "up to" in playback.problem
    assert "its frame rate varies" in playback.problem


def test_pictures_that_start_late(tmp_path):
    late = [500 + stamp for stamp in STEADY]
    playback = measure_playback(encode(tmp_path / "late.mp4", late, sound=2))
    assert playback.frames_off == -13
    assert playback.problem.endswith("as its pictures start 0.5 s late")
    # Less than a frame is enough: it shows the picture before
    late = [7 + stamp for stamp in STEADY]
    assert measure_playback(encode(tmp_path / "little.mkv", late)).frames_off == -1


def test_the_rate_is_that_of_the_stored_metadata(tmp_path):
    path = encode(tmp_path / "a.mp4", STEADY)
    metadata = fo.VideoMetadata(frame_width=160, frame_height=96, frame_rate=30)
    playback = measure_playback(path, metadata)
    assert playback.frames_off == -9  # frame 50 is sought at 1.634 s, where picture 41 is shown
    assert "FiftyOne takes its frame rate for 30, and it is 25" in playback.problem
    metadata.frame_width = None  # then the App reads the file itself
    assert measure_playback(path, metadata).problem == ""


@pytest.mark.parametrize(("rate", "share"), [(Fraction(60), 1 / 3), (Fraction(30000, 1001), 1 / 6)])
def test_times_that_are_rounded_are_no_fault_but_asked_about(tmp_path, rate, share):
    """A frame is sought 1 % of it behind its time, and Matroska rounds times by up to 0.5 ms."""
    stamps = [round(1000 * k / rate) for k in range(120)]
    playback = measure_playback(encode(tmp_path / "a.mkv", stamps, rate=rate))
    assert playback.problem == ""
    assert playback.rounded == pytest.approx(120 * share, abs=6)
    late = next(n for n in range(1, 121) if playback.picture_sought(n) != n)
    right = next(n for n in range(1, 121) if playback.picture_sought(n) == n)
    assert stamps[late - 1] > 1000 * (late - 0.99) / rate
    stored = SimpleNamespace(place=SimpleNamespace(playback=playback))
    boxes = {late: [0, 0, 1, 1], right: [0, 0, 1, 1]}
    assert misplaced(stored, boxes) == {late: late - 1}
    with pytest.raises(ValueError, match=f"says frame {late}, it shows the picture of frame"):
        refuse_misplaced(stored, boxes, {})
    refuse_misplaced(stored, boxes, {late: late})


@pytest.mark.parametrize(
    ("name", "options", "what"),
    [
        ("a.mp4", {"codec": "libx265"}, "the codec hevc"),
        ("a.mp4", {"codec": "mpeg4"}, "the codec mpeg4"),
        ("a.avi", {}, "files of the format avi"),
        ("a.ts", {}, "files of the format mpegts"),
        ("a.mp4", {"pixels": "yuv444p"}, "H.264 with pixels as yuv444p"),
    ],
)
def test_what_browsers_cannot_play(tmp_path, name, options, what):
    base = {"time_base": Fraction(1, 25)}
    path = encode(tmp_path / name, list(range(20)), **base, **options)
    assert measure_playback(path).problem == f"browsers cannot play {what}"


def test_images_are_not_played(tmp_path):
    from PIL import Image

    for k in range(1, 4):
        Image.new("RGB", (32, 24)).save(tmp_path / f"{k:05d}.png")
    problem = measure_playback(str(tmp_path / "%05d.png")).problem
    assert problem == "browsers cannot play images in place of a video file"


@pytest.fixture
def dataset(make_dataset, tmp_path):
    """One that plays right, two that do not, and one that is not there."""
    late = [500 + stamp for stamp in STEADY]
    paths = [
        encode(tmp_path / "right.mp4", STEADY),
        encode(tmp_path / "late.mp4", late, sound=1),
        encode(tmp_path / "other.avi", list(range(20)), time_base=Fraction(1, 25)),
        str(tmp_path / "gone.mp4"),
    ]
    return make_dataset(*(fo.Sample(path) for path in paths))


def test_fields_and_view(dataset):
    assert make_view(dataset, "plays wrongly in the App").values("id") == dataset.values("id")[1:3]
    dataset.reload()
    assert dataset.values(FRAMES_OFF) == [0, -13, 0, None]
    problems = dataset.values(PROBLEM)
    assert problems[0] is None
    assert "0.5 s late" in problems[1]
    assert problems[2:] == ["browsers cannot play files of the format avi", None]
    # A clip plays as its video does
    dataset.set_values("events", [_event(), _event(), None, None])
    clips = dataset.to_clips("events")
    assert make_view(clips, "plays wrongly in the App").values("id") == clips.values("id")[1:]


def _event():
    return fo.TemporalDetections(detections=[fo.TemporalDetection(label="event", support=[1, 5])])


def test_a_field_of_the_users_is_not_taken(dataset):
    dataset.add_sample_field(PROBLEM, fo.IntField)
    dataset.set_values(PROBLEM, [1, 2, 3, 4])
    with pytest.raises(ValueError, match="holds something else"):
        mark_playback(dataset)
    assert dataset.values(PROBLEM) == [1, 2, 3, 4]


def test_the_doctor_lists_them(dataset, tmp_path):
    result = CliRunner().invoke(main, ["doctor", dataset.name])
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[-4].startswith("late.mp4: the App shows other pictures than those of the labels")
    assert lines[-3] == "other.avi: browsers cannot play files of the format avi"
    assert lines[-2].startswith("gone.mp4: there is no file")
    assert "3 of 4 videos have a problem" in lines[-1]
    assert f"revseg playable {dataset.name}" in lines[-1]

    dataset.save_view("right ones", dataset.limit(1))
    result = CliRunner().invoke(main, ["doctor", dataset.name, "--view", "right ones"])
    assert result.exit_code == 0
    assert "plays 1 of 1 videos right" in result.output
    assert CliRunner().invoke(main, ["doctor", "--view", "x"]).exit_code == 2
    assert "no dataset 'nowhere'" in CliRunner().invoke(main, ["doctor", "nowhere"]).output


def test_the_index_knows_the_times(dataset):
    with open_video(dataset.values("filepath")[1]) as video:
        assert video.start_offset == pytest.approx(0.5)
