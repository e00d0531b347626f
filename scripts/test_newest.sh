#!/usr/bin/env bash
# Runs the tests on newer releases than setup.py allows, in an environment of its own.
#
#   bash scripts/test_newest.sh [pytest arguments]
#
# .venv-newest sees all packages of .venv, which stays as it is, and has the newer ones before them.
# Where the tests pass, raise the upper bounds in setup.py.
#
#   NEWEST="fiftyone==1.23.0 transformers"    what to install; by default, the newest of both
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=.venv-newest
rm -rf "$VENV"
.venv/bin/python -m venv --without-pip "$VENV"
site() { "$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }
site .venv >"$(site "$VENV")/beside.pth"
# pip never removes what lies outside of the environment that it installs into
.venv/bin/python -m pip --python "$VENV/bin/python" install -q --upgrade ${NEWEST:-fiftyone transformers}
"$VENV/bin/python" -c 'import fiftyone, transformers
print("Testing on FiftyOne", fiftyone.__version__, "and transformers", transformers.__version__)'
PYTHONPATH=$PWD exec "$VENV/bin/python" -m pytest -n auto --maxprocesses 4 --dist loadfile "$@"
