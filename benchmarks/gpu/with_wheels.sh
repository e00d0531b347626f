#!/usr/bin/env bash
# Runs a script of this folder with what it needs, without FiftyOne and without any network.
#
#   bash benchmarks/gpu/with_wheels.sh SCRIPT.py OPTIONS...
#
# It takes the Python that has PyTorch and transformers (PYTHON=, by default python3), and installs
# from the wheels that carry.sh left beside this file what else is needed, into a folder of its own.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
PYTHON=${PYTHON:-python3}
WHEELS=${WHEELS:-$HERE/wheels}

if [ ! -d "$WHEELS" ]; then
    echo "There are no wheels in $WHEELS: run benchmarks/gpu/carry.sh where there is a package" \
        "index, and bring that folder along" >&2
    exit 1
fi
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
"$PYTHON" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade \
    --disable-pip-version-check --root-user-action=ignore \
    --find-links "$WHEELS" --target "$site" "$WHEELS"/*.whl
cd "$ROOT"
export PYTHONPATH=$site:$ROOT:$ROOT/benchmarks HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
script=$HERE/$1
shift
# In the background, or a signal would wait until the script has ended
"$PYTHON" "$script" "$@" &
trap 'kill -TERM $! 2>/dev/null; wait $!; rm -rf "$site"; exit 143' TERM INT
code=0
wait $! || code=$?
exit $code
