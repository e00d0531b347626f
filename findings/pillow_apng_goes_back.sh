#!/usr/bin/env bash
# Pillow reads an animated PNG forwards only: after going back, the next frame of a valid file is "frame sequence errors".
#
# Guess before the run: going back is slow, as it reads from the start, and gives the same pixels.
# Seen, Pillow 13.0.0, five frames that it wrote itself: seek(3), seek(1) raises SyntaxError "APNG contains frame sequence
# errors", and so does every frame but the first from then on. Going back from the last frame, as to play in a loop, works:
# so a viewer that loops never shows it, and one that jumps calls a whole file broken.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v && v/bin/pip install -q pillow==13.0.0
v/bin/python - <<'PY'
import io

from PIL import Image

frames = [Image.new("RGB", (16, 16), (50 * k, 0, 0)) for k in range(5)]
written = io.BytesIO()
frames[0].save(written, "PNG", save_all=True, append_images=frames[1:], duration=100)


def shown(*way):
    image, seen = Image.open(io.BytesIO(written.getvalue())), []
    for number in way:
        try:
            image.seek(number)
            image.load()
            seen.append(image.convert("RGB").getpixel((8, 8))[0] // 50)
        except SyntaxError as error:
            seen.append(str(error))
    print(way, seen)
    return seen


ERROR = "APNG contains frame sequence errors"
assert shown(0, 1, 2, 3, 4) == [0, 1, 2, 3, 4]
assert shown(3, 1, 2) == [3, ERROR, ERROR]
assert shown(4, 1, 2) == [4, 1, 2]
print("as described")
PY
