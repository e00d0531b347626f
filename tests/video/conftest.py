"""Videos made by FFmpeg whose frames carry their number as a bar code."""

import shutil
import subprocess
from functools import lru_cache
from types import SimpleNamespace

import numpy as np
import pytest

WIDTH, HEIGHT, BITS, COUNT, FPS = 160, 96, 8, 48, 25


def draw(number, width=WIDTH, height=HEIGHT):
    """The bits of a number as bars; the lower half is the upper half inverted."""
    bits = [(number >> (BITS - 1 - i)) & 1 for i in range(BITS)]
    row = np.repeat(bits, width // BITS)
    row = np.pad(row, (0, width - len(row)), mode="edge")
    top = np.tile(row, (height // 2, 1))
    image = np.vstack([top, 1 - np.tile(row, (height - height // 2, 1))])
    return np.repeat((image * 200 + 28).astype(np.uint8)[..., None], 3, axis=2)


def read_code(image):
    """The number in a frame, or -1 for anything that is not clearly one."""
    height, width = image.shape[:2]
    grey, bar, number = image.astype(float).mean(axis=2), width // BITS, 0
    for i in range(BITS):
        x = slice(i * bar + bar // 4, (i + 1) * bar - bar // 4)
        upper = grey[height // 8 : 3 * height // 8, x].mean()
        lower = grey[5 * height // 8 : 7 * height // 8, x].mean()
        if abs(upper - lower) < 100:
            return -1
        number = 2 * number + int(upper > lower)
    return number


def run_ffmpeg(*args, data=None):
    command = ["ffmpeg", "-y", "-v", "error", *map(str, args)]
    subprocess.run(command, input=data, check=True, capture_output=True, timeout=120)


@lru_cache
def encoders():
    listed = subprocess.run(["ffmpeg", "-encoders"], capture_output=True, text=True, check=True)
    return set(listed.stdout.split())


def encode(path, *args, numbers=range(COUNT), width=WIDTH, height=HEIGHT):
    raw = b"".join(draw(n, width, height).tobytes() for n in numbers)
    size = f"{width}x{height}"
    given = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", FPS, "-i", "-"]
    run_ffmpeg(*given, *args, path, data=raw)


H264 = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "12", "-bf", "3"]
OPEN_GOP = [*H264, "-x264-params", "open-gop=1:scenecut=0"]
REFRESH = [*H264, "-x264-params", "intra-refresh=1"]
HEVC = ["-c:v", "libx265", "-pix_fmt", "yuv420p", "-x265-params", "keyint=12:log-level=none"]
HEVC_CLOSED = [*HEVC[:-1], "keyint=12:open-gop=0:log-level=none"]
HEVC_10 = ["-c:v", "libx265", "-pix_fmt", "yuv420p10le", *HEVC[4:]]
SVT = ["-c:v", "libsvtav1", "-pix_fmt", "yuv420p", "-g", "12", "-preset", "8"]
AOM = ["-c:v", "libaom-av1", "-pix_fmt", "yuv420p", "-g", "12", "-cpu-used", "8"]
VP9 = ["-c:v", "libvpx-vp9", "-pix_fmt", "yuv420p", "-g", "12", "-cpu-used", "8"]
VP9 += ["-auto-alt-ref", "1", "-lag-in-frames", "16"]
VFR = "settb=1/1000,setpts='N*40+if(gt(mod(N,7),3),17,0)+if(gt(N,20),500,0)'"
VFR = ["-vf", VFR, "-fps_mode", "passthrough", "-enc_time_base", "1/1000", *H264]
MPEG4 = ["-c:v", "mpeg4", "-g", "12", "-q:v", "4"]

ENCODED = {
    "h264.mp4": H264,
    "h264.mov": H264,
    "h264.mkv": H264,
    "h264.ts": H264,
    "h264.avi": H264,
    "h264.flv": H264,
    "raw.h264": H264,
    "fragmented.mp4": [*H264, "-movflags", "frag_keyframe+empty_moov"],
    "interlaced.mp4": [*H264, "-x264-params", "tff=1", "-flags", "+ildct+ilme"],
    "one_gop.mp4": [*H264, "-g", "9999", "-x264-params", "scenecut=0"],
    "one_gop.ts": [*H264, "-g", "9999", "-x264-params", "scenecut=0"],
    "all_keys.mp4": [*H264, "-g", "1"],
    "open_gop.mp4": OPEN_GOP,
    "open_gop.mkv": OPEN_GOP,
    "open_gop.ts": OPEN_GOP,
    "open_gop.avi": OPEN_GOP,
    "refresh.mp4": REFRESH,
    "refresh.ts": REFRESH,
    "hevc.mp4": HEVC,
    "hevc.mkv": HEVC,
    "hevc.ts": HEVC,
    "hevc_closed.mp4": HEVC_CLOSED,
    "hevc_10bit.mkv": HEVC_10,
    "av1.mp4": SVT,
    "av1.webm": SVT,
    "av1_aom.mkv": AOM,
    "vp9.webm": VP9,
    "vp9.mp4": VP9,
    "mpeg4.avi": MPEG4,
    "mpeg4_b.avi": [*MPEG4, "-bf", "2"],
    "xvid_packed.avi": ["-c:v", "libxvid", "-g", "12", "-bf", "2"],
    "mpeg4_b.mp4": [*MPEG4, "-bf", "2"],
    "mpeg2.ts": ["-c:v", "mpeg2video", "-g", "12", "-bf", "2"],
    "mjpeg.mov": ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"],
    "mjpeg.avi": ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"],
    "mpeg2.mxf": ["-c:v", "mpeg2video", "-g", "12", "-bf", "2"],
    "mpeg2.mpg": ["-c:v", "mpeg2video", "-g", "12", "-bf", "2"],
    "vp8.webm": ["-c:v", "libvpx", "-g", "12", "-auto-alt-ref", "1", "-lag-in-frames", "16"],
    "theora.ogv": ["-c:v", "libtheora", "-g", "12", "-q:v", "7"],
    "frames.gif": ["-c:v", "gif"],
    "vfr.mp4": VFR,
    "vfr.mkv": VFR,
}
# Cut at 0.7 s without encoding: mp4 keeps the frames before the cut and hides them
CUT = {
    "cut_h264.mp4": "h264.mp4",
    "cut_open_gop.mp4": "open_gop.mp4",
    "cut_hevc.mp4": "hevc.mp4",
    "cut_hevc.mkv": "hevc.mkv",
}
ROTATED = {f"rotated_{degrees}.mp4": degrees for degrees in (90, 180, 270)}
# The first frames of what is cut are not shown, or cannot be decoded
FIRST_SHOWN = {
    "cut_h264.mp4": 18,
    "cut_open_gop.mp4": 18,
    "cut_hevc.mp4": 18,
    "cut_hevc.mkv": 12,
    "starts_midway.ts": 13,
}
KINDS = [*ENCODED, *CUT, *ROTATED, "starts_midway.ts"]


@pytest.fixture(scope="session")
def bars():
    """The bar code's tools."""
    return SimpleNamespace(
        encode=encode, read=read_code, draw=draw, ffmpeg=run_ffmpeg, count=COUNT, fps=FPS, h264=H264
    )


@pytest.fixture(scope="session")
def make_video(tmp_path_factory):
    """Makes a bar-coded video of a kind, once: ``path, numbers = make_video(kind)``.

    ``numbers`` are those that a player shows; rotated videos hold what a camera held sideways
    stores, so they must come out upright.
    """
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg")
    folder = tmp_path_factory.mktemp("videos")

    @lru_cache
    def make(kind):
        path = folder / kind
        if kind in ENCODED:
            args = ENCODED[kind]
            codec = args[args.index("-c:v") + 1]
            if codec not in encoders():
                pytest.skip(f"this ffmpeg has no encoder {codec}")
            encode(path, *args)
        elif kind in CUT:
            run_ffmpeg("-ss", "0.7", "-i", make(CUT[kind])[0], "-c", "copy", path)
        elif kind in ROTATED:
            _encode_rotated(path, ROTATED[kind])
        elif kind == "starts_midway.ts":
            data = make("h264.ts")[0].read_bytes()
            path.write_bytes(data[188 * 9 :])
        else:
            raise KeyError(kind)
        numbers = list(range(FIRST_SHOWN.get(kind, 0), COUNT))
        if kind == "xvid_packed.avi":
            numbers[-3:-1] = []  # this encoder drops two
        return path, numbers

    return make


def _encode_rotated(path, degrees):
    upright = [draw(n) for n in range(COUNT)]
    # ffmpeg's "rotate" tag counts clockwise: the player turns the stored picture by that much
    stored = [np.ascontiguousarray(np.rot90(image, degrees // 90)) for image in upright]
    height, width = stored[0].shape[:2]
    plain = path.with_name("stored_" + path.name)
    raw = b"".join(image.tobytes() for image in stored)
    given = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", FPS, "-i", "-"]
    run_ffmpeg(*given, *H264, plain, data=raw)
    write_display_matrix(plain, path, degrees)


def write_display_matrix(source, path, degrees=0, mirrored=False):
    """Rewrites the display matrix in an mp4's track header, as a phone would."""
    cos, sin = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    a, b, c, d = cos, sin, -sin, cos
    if mirrored:
        a, c = -a, -c
    one = 1 << 16
    matrix = [a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30]
    data = bytearray(source.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = b"".join(v.to_bytes(4, "big", signed=True) for v in matrix)
    path.write_bytes(data)


@pytest.fixture(scope="session")
def display_matrix():
    return write_display_matrix


def pytest_generate_tests(metafunc):
    if "kind" in metafunc.fixturenames:
        metafunc.parametrize("kind", KINDS)
