#!/usr/bin/env bash
# Makes an environment of what the machine has that run.sh is written for, and runs run.sh in it on
# the CPU, in miniature.
#
#   bash benchmarks/gpu/rehearse.sh             # more options go to run.sh
#   WITHOUT_TRAINING=1 bash ...                 # as on a machine where the stage grpo cannot run
#
# PYTHON= a Python 3.12 (python3.12); ENV= where the environment is, and stays (.venv-gpu). Its
# torch is the ordinary one, of which a CPU uses a part; PIP_INDEX_URL may name an index of smaller
# ones.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
PYTHON=${PYTHON:-python3.12}
ENV=${ENV:-$ROOT/.venv-gpu}

[ -x "$ENV/bin/python" ] || "$PYTHON" -m venv "$ENV"
"$ENV/bin/python" -m pip install -q --disable-pip-version-check -r "$HERE/machine.txt"
if [ -n "${WITHOUT_TRAINING:-}" ]; then
    "$ENV/bin/python" -m pip uninstall -q -y -r "$HERE/machine_training.txt"
else
    "$ENV/bin/python" -m pip install -q --disable-pip-version-check \
        -r "$HERE/machine_training.txt"
fi
[ -d "$HERE/wheels" ] || bash "$HERE/carry.sh"
PYTHON=$ENV/bin/python exec bash "$HERE/run.sh" --device cpu --tiny --patience 10 "$@"
