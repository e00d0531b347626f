#!/usr/bin/env bash
# The openai client is built on a package named httpx2; an except for errors of httpx catches nothing.
#
# Guess before the run: the cause of openai.APIConnectionError is an httpx.ConnectError, as in older releases.
# Seen, openai 3.57.0: it installs httpx2 and no httpx. With httpx 0.28.1 beside it, httpx.Client is accepted as
# http_client, but the default client's errors are httpx2.ConnectError, which is no httpx.ConnectError.
# Checks of types, log filters on the logger "httpx", and mocks of httpx's transport miss the client silently.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v && v/bin/pip install -q openai==3.57.0
v/bin/python -c 'import importlib.util as u; assert u.find_spec("httpx2") and not u.find_spec("httpx")'
v/bin/pip install -q httpx==0.28.1
v/bin/python - <<'PY'
import socket
import httpx, openai
with socket.socket() as s:  # a port at which nobody listens
    s.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{s.getsockname()[1]}/v1"
try:
    openai.OpenAI(api_key="none", base_url=url, max_retries=0).models.list()
except openai.APIConnectionError as error:
    cause = error.__cause__
print("cause:", type(cause), "an httpx error:", isinstance(cause, httpx.HTTPError))
assert type(cause).__module__.startswith("httpx2") and not isinstance(cause, httpx.HTTPError)
openai.OpenAI(api_key="none", base_url=url, http_client=httpx.Client())
print("as described")
PY
