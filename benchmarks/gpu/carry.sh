#!/usr/bin/env bash
# Fills benchmarks/gpu/wheels, which git ignores, with what run.sh installs on a machine without a
# package index: for Linux on x86-64 and CPython 3.12. Run it where there is one.
#
#   bash benchmarks/gpu/carry.sh        # PYTHON= a Python with torch, setuptools and wheel (.venv)
#
# Working tree and wheels together have to stay under 64 MiB.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
PYTHON=${PYTHON:-$ROOT/.venv/bin/python}
WHEELS=${WHEELS:-$HERE/wheels}

listed() { # listed FIRST LAST: the packages of wheels.txt from one to another
    sed -n "/^$1==/,/^$2==/p" "$HERE/wheels.txt" | grep -v '^#'
}

partial=$(mktemp -d "$HERE/wheels.partial.XXXX")
trap 'rm -rf "$partial"' EXIT
platforms=()
for glibc in 2_28 2_27 2_17; do platforms+=(--platform "manylinux_${glibc}_x86_64"); done
platforms+=(--platform manylinux2014_x86_64)
# shellcheck disable=SC2046
"$PYTHON" -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 \
    --implementation cp "${platforms[@]}" -d "$partial" $(listed av multiprocess)
# sam2, antlr4 and iopath come as source only. SAM2_BUILD_CUDA=0: without the extension that fills
# tiny holes, sam2 is plain Python
# shellcheck disable=SC2046
SAM2_BUILD_CUDA=0 "$PYTHON" -m pip wheel -q --no-deps --no-build-isolation -w "$partial" \
    $(listed sam2 dill)
for wheel in "$partial"/*.whl; do
    case $wheel in
    *-py3-none-any.whl | *-py2.py3-none-any.whl | *-cp312-* | *-py312-* | *-abi3-*) ;;
    *) echo "carry.sh: $(basename "$wheel") is not for CPython 3.12" >&2 && exit 1 ;;
    esac
done
rm -rf "$WHEELS"
mv "$partial" "$WHEELS"
chmod 755 "$WHEELS"
trap - EXIT

tree=$(cd "$ROOT" && git ls-files -z | xargs -0 stat -c %s | awk '{ s += $1 } END { print s }')
wheels=$(cat "$WHEELS"/*.whl | wc -c)
awk -v tree="$tree" -v wheels="$wheels" 'BEGIN {
    printf "wheels %.1f MiB, working tree %.1f MiB\n", wheels / 2^20, tree / 2^20
    if (tree + wheels >= 64 * 2^20) { print "together that is 64 MiB or more"; exit 1 }
}'
