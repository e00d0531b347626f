"""Copies that play at a constant rate: every frame once, in its order, as it is shown."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from timed_videos import encode, read

from fiftyone_revseg.video import VideoError, check_playable, open_video, write_playable

JITTER = np.cumsum([0, *np.random.default_rng(0).choice([20, 33, 40, 80], 59)]).tolist()
STEADY = [40 * k for k in range(60)]


def shown(path):
    with open_video(path) as video:
        return [read(image) for _, image in video.walk(0)], video.times + video.start_offset


def streams(path):
    with av.open(str(path)) as container:
        return {s.type: s.codec_context.name for s in container.streams}


@pytest.mark.parametrize(
    ("name", "stamps", "options", "sound"),
    [
        ("jitter.mp4", JITTER, {}, "none"),
        ("jitter.webm", JITTER, {"codec": "libvpx-vp9"}, "none"),
        ("jitter_sound.mp4", JITTER, {"sound": 2}, "left out"),
        ("late.mp4", [500 + s for s in STEADY], {"sound": 3}, "kept"),
        ("hevc.mp4", STEADY, {"codec": "libx265"}, "none"),
        ("b_frames.mp4", JITTER, {"options": {"bf": "3", "crf": "12"}}, "none"),
        ("single.mp4", [0], {}, "none"),
    ],
)
def test_every_frame_once_at_constant_times(tmp_path, name, stamps, options, sound):
    source, path = encode(tmp_path / name, stamps, **options), tmp_path / "copy" / "a.mp4"
    before = Path(source).read_bytes()
    calls = []
    copy = write_playable(source, path, lambda done, total: calls.append((done, total)))
    numbers, times = shown(path)
    assert numbers == list(range(len(stamps)))
    np.testing.assert_allclose(times, np.arange(len(stamps)) / float(copy.rate), atol=1e-6)
    assert (copy.frames, copy.sound) == (len(stamps), sound)
    assert streams(path) == {"video": "h264", **({"audio": "aac"} if sound == "kept" else {})}
    assert calls[-1] == (2 * len(stamps), 2 * len(stamps))
    assert Path(source).read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["a.mp4"]
    assert check_playable(source, path)
    # It takes as long as the original
    if len(stamps) > 1:
        assert float(copy.rate) == pytest.approx(
            1000 * (len(stamps) - 1) / (stamps[-1] - stamps[0])
        )


def test_pictures_are_upright_and_pixels_keep_their_shape(tmp_path, make_video):
    path = tmp_path / "copy.mp4"
    write_playable(str(make_video("rotated_90.mp4")[0]), path)
    with open_video(path) as copy, open_video(make_video("rotated_90.mp4")[0]) as video:
        assert copy.size == video.size
        assert np.abs(copy[20].astype(int) - video[20]).mean() < 6
    source = encode(tmp_path / "wide.mp4", STEADY[:9], aspect=Fraction(64, 45))
    write_playable(source, path)
    with av.open(str(path)) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(64, 45)


def test_odd_sides_stay_as_they_are(tmp_path):
    source = encode(
        tmp_path / "odd.mkv", STEADY[:9], codec="libx264rgb", size=(161, 97), pixels="rgb24"
    )
    path = tmp_path / "copy.mp4"
    write_playable(source, path)
    assert streams(path) == {"video": "vp9"}
    with open_video(path) as copy:
        assert copy.size == (161, 97)
    assert shown(path)[0] == list(range(9))


def test_colors_are_kept(tmp_path):
    source, path = tmp_path / "colors.mp4", tmp_path / "copy.mp4"
    image = np.zeros((64, 96, 3), np.uint8)
    colors = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (200, 200, 60)]
    for i, color in enumerate(colors):
        image[:, 24 * i : 24 * i + 24] = color
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    write_playable(str(source), path)
    with open_video(source) as video, open_video(path) as copy:
        for i in range(4):
            at = (32, 24 * i + 12)
            assert np.abs(video[2][at].astype(int) - copy[2][at]).max() < 10


def test_sound_stays_in_step(tmp_path):
    """A click at 1.0 s of a video whose pictures start at 0.5 s is heard at 0.5 s of the copy."""
    source, path = tmp_path / "clicks.mp4", tmp_path / "copy.mp4"
    silent = encode(tmp_path / "silent.mp4", [500 + s for s in STEADY])
    wave = np.zeros(3 * 48000, np.float32)
    wave[48000 : 48000 + 480] = np.sin(np.arange(480) * 0.3)
    with av.open(str(source), "w") as container, av.open(silent) as given:
        video = container.add_stream_from_template(given.streams.video[0])
        sound = container.add_stream("aac", rate=48000)
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is not None:
                packet.stream = video
                container.mux(packet)
        for first in range(0, len(wave), 1024):
            part = wave[None, first : first + 1024]
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 48000, first, Fraction(1, 48000)
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    assert write_playable(str(source), path).sound == "kept"
    with av.open(str(path)) as container:
        heard = [
            (float(frame.pts * frame.time_base), np.abs(frame.to_ndarray()).max())
            for frame in container.decode(audio=0)
        ]
    loud = [seconds for seconds, level in heard if level > 0.2]
    assert min(loud) == pytest.approx(0.5, abs=0.03)
    assert max(loud) == pytest.approx(0.5, abs=0.06)


def test_images_become_a_video(tmp_path, bars):
    from PIL import Image

    for k in range(5):
        Image.fromarray(bars.draw(k)).save(tmp_path / f"{k:03d}.png")
    copy = write_playable(str(tmp_path / "%03d.png"), tmp_path / "copy.mp4")
    assert (copy.frames, copy.rate) == (5, 25)


def test_what_is_not_the_same_is_no_copy(tmp_path):
    source = encode(tmp_path / "a.mp4", JITTER)
    assert not check_playable(source, source)  # its times vary
    other = encode(tmp_path / "b.mp4", STEADY[:-1])
    assert not check_playable(source, other)
    assert not check_playable(source, tmp_path / "nothing.mp4")
    (tmp_path / "text.mp4").write_text("nothing")
    assert not check_playable(source, tmp_path / "text.mp4")


def test_nothing_is_left_of_what_fails(tmp_path, monkeypatch):
    source, path = encode(tmp_path / "a.mp4", JITTER), tmp_path / "copy" / "a.mp4"
    with pytest.raises(VideoError):
        write_playable(str(tmp_path / "gone.mp4"), path)

    def interrupt(done, total):
        if done == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_playable(source, path, interrupt)
    # What reading it back finds
    monkeypatch.setattr("fiftyone_revseg.video.playable._ALIKE", -1)
    with pytest.raises(VideoError, match="another picture"):
        write_playable(source, path)
    assert not path.parent.exists() or not list(path.parent.iterdir())
