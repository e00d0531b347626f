#!/usr/bin/env bash
# All that there is to measure on a GPU in one command, in 8 minutes and without any network.
#
#   bash benchmarks/gpu/run.sh                          # see run.py for the options
#   bash benchmarks/gpu/run.sh --device cpu --tiny      # everything in miniature
#
# It takes the Python that has PyTorch and transformers (PYTHON=, by default python3), and installs
# from the wheels that carry.sh left beside this file what else is needed, into a folder of its own.
# Neither FiftyOne nor a package index is needed.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
PYTHON=${PYTHON:-python3}
WHEELS=${WHEELS:-$HERE/wheels}
SITE=${SITE:-$(mktemp -d)}

if [ ! -d "$WHEELS" ]; then
    echo "run.sh: there are no wheels in $WHEELS: run benchmarks/gpu/carry.sh where there is a" \
        "package index, and bring that folder along" >&2
    exit 1
fi
"$PYTHON" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade \
    --disable-pip-version-check --root-user-action=ignore \
    --find-links "$WHEELS" --target "$SITE" "$WHEELS"/*.whl
cd "$ROOT"
export PYTHONPATH=$SITE:$ROOT:$ROOT/benchmarks HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
exec "$PYTHON" "$HERE/run.py" "$@"
