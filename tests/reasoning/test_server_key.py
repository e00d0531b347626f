"""The key of a server: it goes to that server, and appears nowhere however it is repeated."""

import base64
import html
import json
import pickle
import string
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest
from fake_server import FakeServer, Fault, status
from hypothesis import given
from hypothesis import strategies as st

from fiftyone_revseg.reasoning import ChainSpec, Conversation, Reply, ServerReasoner
from fiftyone_revseg.reasoning.server import Backoff
from fiftyone_revseg.reasoning.serving.secret import Secret
from fiftyone_revseg.reasoning.serving.served import check_url, find_key, is_here

KEY = "sk-77/not+to&be-seen\"'=="
SPEC = ChainSpec(frames=4, frame_size=28, key_frame_size=56)
QUICK = Backoff(retries=1, first=0.01, longest=0.02)
ASKED = Conversation().say("user", "hello")

# The ways in which a server may repeat it
FORMS = {
    "as it is": KEY,
    "in other letters": KEY.upper(),
    "in an address": quote(KEY, safe=""),
    "in a page": html.escape(KEY),
    "in quoted JSON": json.dumps(json.dumps(KEY)),
    "in basic authorization": base64.b64encode(f"user:{KEY}".encode()).decode(),
    "after a letter": base64.b64encode(f"a{KEY}".encode()).decode(),
    "after two": base64.b64encode(f"ab{KEY}".encode()).decode(),
    "as bytes": KEY.encode().hex(),
    "its beginning": f"{KEY[:11]}...",
    "its end": f"...{KEY[-9:]}",
}
PARTS = [KEY[i : i + 8].lower() for i in range(len(KEY) - 7)]


def shows(text):
    """Whether the key, a part of it, or one of its forms is in a text."""
    text = text.lower()
    whole = [form.strip('."').lower() for form in FORMS.values()]
    return any(part in text for part in PARTS) or any(form in text for form in whole)


def ask(url, **options):
    reasoner = ServerReasoner.connect(url, "revseg-nano", SPEC, backoff=QUICK, **options)
    try:
        return reasoner.generate([ASKED], SPEC)[0]
    finally:
        reasoner.close()


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_hidden(form):
    hidden = Secret(KEY).hide(f"before {FORMS[form]} after")
    assert hidden.startswith("before ")
    assert hidden.endswith(" after")
    assert "***" in hidden
    assert not shows(hidden)


@given(st.text(string.printable, max_size=40), st.text(string.printable, max_size=40))
def test_the_text_around_stays(before, after):
    hidden = Secret(KEY).hide({"a": [before + KEY + after, 7, None], before: after})
    assert hidden == {"a": [f"{before}***{after}", 7, None], before: after}


def test_a_short_key_is_a_word_of_its_own():
    secret = Secret("tree")
    assert secret.hide("the trees and the street: tree, Tree") == (
        "the trees and the street: ***, ***"
    )
    assert Secret().hide("tree") == "tree"
    for key in ("7", "abc", "1234567"):
        with pytest.raises(ValueError, match="so short") as caught:
            find_key(key)
        assert key not in str(caught.value)


def test_a_key_is_not_stored_or_shown():
    secret = Secret(KEY)
    assert not shows(repr(secret) + str(secret) + str([secret]))
    with pytest.raises(TypeError, match="never stored"):
        pickle.dumps(secret)


@pytest.mark.parametrize("form", FORMS)
def test_a_reply_that_repeats_it(form, log):
    said = f"<think>I got {FORMS[form]}</think><answer>[]</answer>"
    headers = {"X-Key": FORMS[form]}
    answer = {"choices": [{"message": {"content": said, "reasoning": FORMS[form]}}]}
    fault = Fault("body", 200, answer, headers)
    with FakeServer(None, fault=lambda *_: fault, says=f"Hello {FORMS[form]}") as server:
        reply = ask(server.url, key=KEY)
    assert "I got" in reply.text
    assert "***" in reply.text
    assert not shows(repr(reply))
    assert any("HTTP Request" in line for line in log)
    assert not shows("\n".join(log))


@pytest.mark.parametrize("code", [200, 400, 401, 404, 429, 500])
@pytest.mark.parametrize("kind", ["status", "text"])
def test_an_error_that_repeats_it(code, kind, log):
    message = " and ".join(FORMS.values())
    fault = status(code, message) if kind == "status" else Fault("text", code, message)
    with FakeServer(None, fault=lambda *_: fault, says=KEY) as server:
        error = ask(server.url, key=KEY)
    assert isinstance(error, Exception)
    assert not shows("\n".join([str(error), repr(error), *log]))


def test_names_of_models_that_repeat_it(log):
    with FakeServer(None, model=f"m {KEY}", root=KEY, owner=KEY, key=KEY, says=KEY) as server:
        reasoner = ServerReasoner(server.url, _model(), SPEC, key=KEY)
        (model,) = reasoner.models()
        assert (model.id, model.root, model.owner) == ("m ***", "***", "***")
        reasoner.close()
        with pytest.raises(ValueError, match=r"it serves 'm \*\*\*'") as caught:
            ServerReasoner.connect(server.url, "revseg-nano", SPEC, key=KEY)
        with pytest.raises(ValueError, match="does not accept the key") as refused:
            ServerReasoner.connect(server.url, "revseg-nano", SPEC, key=KEY[::-1])
    assert not shows(str(caught.value) + "\n".join(log))
    assert KEY[::-1] not in str(refused.value) + "\n".join(log)


def _model():
    from fiftyone_revseg.reasoning.serving.served import ServedModel

    return ServedModel("revseg-nano")


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(code):
    with FakeServer(lambda *_: Reply("fine")) as other:
        where = other.url.replace("127.0.0.1", "localhost")
        location = where.replace("//", f"//me:{KEY[:5]}pw@") + "/chat/completions"
        fault = Fault("text", code, "moved", {"Location": location})
        with FakeServer(None, fault=lambda *_: fault) as server:
            error = ask(server.url, key=KEY)
            assert len(server.bodies) == 1
        assert other.bodies == other.headers == []
    assert f"sends requests on to {where.removesuffix('/v1')} ({code})" in str(error)
    assert "pw@" not in str(error)


class Proxy(BaseHTTPRequestHandler):
    """Refuses whatever it is asked, and remembers it."""

    def handle_one_request(self):
        self.server.seen.append(self.request.recv(65536).decode("latin-1"))
        self.request.sendall(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
        self.close_connection = True


@pytest.fixture
def proxy(monkeypatch):
    """A proxy that the environment names for everything."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.seen = []
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        for variable in (name, name.lower()):
            monkeypatch.setenv(variable, f"http://me:pw@127.0.0.1:{server.server_address[1]}")
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "LOCALHOST"])
def test_what_is_for_this_machine_passes_no_proxy(proxy, host):
    with FakeServer(lambda *_: Reply("fine"), key=KEY) as server:
        reply = ask(server.url.replace("127.0.0.1", host), key=KEY)
    assert reply.text == "fine"
    assert proxy.seen == []


@pytest.mark.parametrize("url", ["https://localhost:1/v1", "http://no-such-host.invalid/v1"])
def test_other_addresses_that_pass_no_proxy(proxy, url):
    with pytest.raises(ValueError, match="No server answers at"):
        ServerReasoner.connect(url, "revseg-nano", SPEC, key=KEY)
    assert proxy.seen == []


def test_a_proxy_that_is_not_there(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://me:pw@127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(ValueError, match="through the proxy that the environment names") as caught:
        ServerReasoner.connect("https://no-such-host.invalid/v1", "revseg-nano", SPEC, key=KEY)
    assert "pw" not in str(caught.value)


def test_over_https_a_proxy_sees_the_name_of_the_server_alone(proxy, log):
    with pytest.raises(ValueError, match=r"The proxy .* does not connect .*NO_PROXY") as caught:
        ServerReasoner.connect("https://no-such-host.invalid/v1", "revseg-nano", SPEC, key=KEY)
    assert {request.split("\r\n")[0] for request in proxy.seen} == {
        "CONNECT no-such-host.invalid:443 HTTP/1.1"
    }
    assert not shows("".join(proxy.seen))
    assert "pw@" not in str(caught.value) + "\n".join(log)


@pytest.mark.parametrize("proxy", ["socks9://me:pw@host", "http://me:pw@host:port"])
def test_a_proxy_that_cannot_be_used(monkeypatch, proxy):
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(ValueError, match="cannot be used") as caught:
        ServerReasoner.connect("https://no-such-host.invalid/v1", "revseg-nano", SPEC, key=KEY)
    assert "pw" not in str(caught.value)
    with FakeServer(lambda *_: Reply("fine"), key=KEY) as server:
        assert ask(server.url, key=KEY).text == "fine"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:8000/v1", True),
        ("http://LocalHost./v1", True),
        ("http://gpu.localhost/v1", True),
        ("http://127.8.9.1/v1", True),
        ("http://127.1/v1", True),
        ("http://2130706433/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://[::ffff:127.0.0.1]/v1", True),
        ("http://0.0.0.0:8000/v1", True),
        ("http://localhost.example.org/v1", False),
        ("http://127.0.0.1.example.org/v1", False),
        ("http://10.0.0.1/v1", False),
        ("http://[fe80::1]/v1", False),
    ],
)
def test_what_is_this_machine(url, expected):
    assert is_here(url) is expected


@pytest.mark.parametrize(
    "url",
    [
        "http://me:pa55word@host/v1",
        "http://me:123#pa55word@host/v1",
        "http://me:123?pa55word@host/v1",
        "http://me:123/pa55word@host/v1",
        "http://host/v1?api_key=pa55word",
        "http://host/v1#pa55word",
        "http://me:pa55/word@host",
        "http://me:pa55 word@host/v1",
    ],
)
def test_an_address_has_no_password(url):
    with pytest.raises(ValueError, match=r"leave them out|is no address") as caught:
        check_url(url)
    assert "pa55" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://h\x1b[31m/v1", "http://h/\u202ev1", "http://a b/v1"])
def test_an_address_is_plain_text(url):
    with pytest.raises(ValueError, match="is no address") as caught:
        check_url(url)
    assert str(caught.value).isprintable()


def test_the_key_instead_of_the_address(monkeypatch):
    monkeypatch.setenv("REVSEG_SERVER_KEY", KEY)
    with pytest.raises(ValueError, match=r"'\*\*\*' is no address"):
        check_url(KEY)


def test_a_key_that_others_can_read_on_the_way(caplog, monkeypatch):
    monkeypatch.setattr(ServerReasoner, "models", lambda self: [_model()])
    for url in ("http://gpu-7/v1", "https://gpu-7/v1", "http://localhost/v1"):
        ServerReasoner.connect(url, "revseg-nano", SPEC, key=KEY)
    assert caplog.messages == [message for message in caplog.messages if "http://gpu-7" in message]
    assert len(caplog.messages) == 1
    assert "unencrypted" in caplog.text
