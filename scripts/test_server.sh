#!/usr/bin/env bash
# Serves the embedded model with a real server, and compares its answers with those of this process.
#
#   bash scripts/test_server.sh vllm|transformers [options of compare_server.py]
#
# The server is installed, with pinned versions, into an environment of its own, which is kept for
# the next time: .venv-vllm (2.5 GB) or .venv-transformers, which sees the packages of .venv beside
# a few of its own. It listens on this machine only, and is stopped in the end, whatever happens.
#
#   TORCH_CPU=URL or folder      where pip finds torch for CPUs; by default, PyTorch's own index
#   SERVER_ARGS="--flag ..."     more for the server, such as --reasoning-parser qwen3
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

SERVER=${1:?vllm or transformers}
shift
PY=.venv/bin/python
VENV=.venv-$SERVER
LOG=$VENV/serve.log
MODEL=$PWD/fiftyone_revseg/checkpoints/revseg-nano
PINNED=scripts/servers/$SERVER.txt
TORCH_CPU=${TORCH_CPU:-https://download.pytorch.org/whl/cpu}
server=

[ -f "$PINNED" ] || {
    echo "test_server: there is no $PINNED: say vllm or transformers" >&2
    exit 2
}

site() { "$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }
install() { "$PY" -m pip --python "$VENV/bin/python" install -q --no-cache-dir -r "$PINNED" "$@"; }

install_transformers() {
    site .venv >"$(site "$VENV")/beside.pth"
    install
}

install_vllm() {
    local from=--extra-index-url
    [ ! -d "$TORCH_CPU" ] || from=--find-links
    install --no-deps "$from" "$TORCH_CPU" # the list is whole, and vLLM asks for more than that
    # A torchvision that was built for CUDA does not import beside torch for CPUs, for want of
    # operators that nobody calls here
    cat >>"$(site "$VENV")/torchvision/extension.py" <<'PY'

if not _has_ops():
    for _name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{_name}", "(Tensor a, Tensor b, float c) -> Tensor")
PY
    # The command asks for the version of a package called vllm, which the one for CPUs is not
    local about
    about=$(site "$VENV")/vllm-0.32.0+cpu.dist-info
    mkdir -p "$about"
    printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' >"$about/METADATA"
}

# float32 on both sides, so that replies are equal but for rounding
start_transformers() {
    start -c 'from transformers.cli.transformers import main; main()' serve "$MODEL" \
        --device cpu --dtype float32
}

start_vllm() {
    # Without "video": 0, a video of the most tokens is tried out at the start, for minutes; without
    # --enforce-eager, so long is compiled
    start "$VENV/bin/vllm" serve "$MODEL" --served-model-name revseg-nano --dtype float32 \
        --enforce-eager --max-model-len 4096 --limit-mm-per-prompt '{"image": 20, "video": 0}' \
        --enable-prefix-caching
}

start() {
    VLLM_CPU_KVCACHE_SPACE=1 VLLM_NO_USAGE_STATS=1 VLLM_CACHE_ROOT=$PWD/$VENV/cache DO_NOT_TRACK=1 \
        HF_HUB_OFFLINE=1 PYTHONPATH= setsid "$VENV/bin/python" "$@" \
        --host 127.0.0.1 --port "$port" ${SERVER_ARGS:-} >"$LOG" 2>&1 &
    server=$!
}

stop() {
    [ -n "$server" ] || return 0
    local signal
    for signal in INT KILL; do
        kill -$signal -- "-$server" 2>/dev/null || return 0
        for _ in $(seq 20); do
            kill -0 -- "-$server" 2>/dev/null || return 0
            sleep 0.5
        done
    done
}

wait_for_it() {
    for _ in $(seq 600); do
        "$PY" -c "import urllib.request
urllib.request.urlopen('http://127.0.0.1:$port/health', timeout=5)" 2>/dev/null && return
        kill -0 "$server" 2>/dev/null || break
        sleep 1
    done
    echo "test_server: $SERVER did not start; the end of $LOG:" >&2
    tail -20 "$LOG" >&2
    exit 1
}

began=$SECONDS
if ! cmp -s "$PINNED" "$VENV/installed.txt"; then
    echo "==> Installing $SERVER into $VENV"
    rm -rf "$VENV"
    "$PY" -m venv --without-pip "$VENV"
    "install_$SERVER"
    cp "$PINNED" "$VENV/installed.txt"
fi
echo "==> $VENV: $(du -sh "$VENV" | cut -f1), after $((SECONDS - began)) s"
port=$("$PY" -c "import socket
s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])")
trap stop EXIT
began=$SECONDS
"start_$SERVER"
wait_for_it
echo "==> It answers after $((SECONDS - began)) s"
PYTHONPATH=$PWD "$PY" scripts/compare_server.py --server "http://127.0.0.1:$port/v1" "$@"
