"""A server of the OpenAI API on a real socket, which fails on demand."""

import base64
import io
import json
import math
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image as PILImage

from fiftyone_revseg.reasoning import Conversation, Image


@dataclass(frozen=True)
class Fault:
    """What goes wrong with a request.

    Attributes:
        kind: "status", "hang", "cut" in the middle of the answer, "drop" before it, "drip" one byte
            at a time, "text" that is sent as the body, or "body" that is sent as JSON
        status: the HTTP status
        value: the message, the text or the body
        headers: sent with it
    """

    kind: str
    status: int = 200
    value: object = None
    headers: dict = field(default_factory=dict)


def status(code, message="something is wrong", **headers):
    """An error as vLLM and SGLang send it."""
    headers = {name.replace("_", "-"): str(value) for name, value in headers.items()}
    return Fault("status", code, {"error": {"message": message, "code": code}}, headers)


class FakeServer:
    """Answers with ``answer(conversation, body)``, a Reply; use it as a context manager.

    Args:
        answer: makes the reply
        model: the model's name
        root: the checkpoint that it is said to be
        owner: "vllm", "sglang", "llamacpp", or "transformers", which answers as vLLM and as
            ``transformers serve`` were found to
        parser: whether it was started with ``--reasoning-parser``
        key: the key to ask for
        fault: called as ``fault(number, body)`` with the number of the request, from 0; returns a
            :class:`Fault` or None
        says: a text that is in the status line and a header of every answer
    """

    def __init__(
        self,
        answer,
        model="revseg-nano",
        root="",
        owner="vllm",
        key=None,
        fault=None,
        says=None,
        parser=False,
    ) -> None:
        self.answer, self.key, self.fault, self.says = answer, key, fault, says
        self.owner, self.parser = owner, parser
        self.cards = [{"id": model, "object": "model", "owned_by": owner, "root": root or model}]
        if owner == "transformers":
            status = {"value": "loaded"}
            self.cards = [{"owned_by": "local", "id": model, "created": 0, "status": status}]
        self.bodies, self.headers, self.times = [], [], []
        self.in_flight = self.most_in_flight = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        server = self

        class Handler(_Handler):
            fake = server

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self):
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()
        return self

    def __exit__(self, *exception):
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    def stop_listening(self):
        """Takes no more connections, and holds on to the requests that are open."""
        self._server.shutdown()
        self._server.socket.close()

    def complete(self, handler, body):
        """Answers one request for a completion, or fails."""
        with self._lock:
            number = len(self.bodies)
            self.bodies.append(body)
            self.headers.append(dict(handler.headers))
            self.times.append(time.monotonic())
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            fault = self.fault(number, body) if self.fault else None
            unknown = set(body) - _TRANSFORMERS_FIELDS
            if self.owner == "transformers" and unknown:
                fault = Fault("status", 422, {"detail": f"Unexpected fields: {unknown}"})
            if fault is None:
                handler.send(200, self._completion(body))
            elif fault.kind in ("status", "body"):
                handler.send(fault.status, fault.value, fault.headers)
            elif fault.kind == "text":
                handler.send(fault.status, str(fault.value).encode(), fault.headers)
            elif fault.kind == "hang":
                self._ended.wait(30)
                handler.close_connection = True
            elif fault.kind == "drop":
                handler.close_connection = True
            elif fault.kind == "cut":
                handler.send_part(json.dumps(self._completion(body)).encode())
            elif fault.kind == "drip":
                handler.drip(json.dumps(self._completion(body)).encode(), self._ended)
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True
        finally:
            with self._lock:
                self.in_flight -= 1

    def _completion(self, body):
        reply = self.answer(conversation_of(body), body)
        choice = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", **self._parts(reply.text)},
        }
        if body.get("logprobs") and reply.token_texts and self.owner != "transformers":
            pairs = zip(reply.token_texts, reply.token_probabilities, strict=True)
            tokens = [
                {"token": t, "bytes": list(t.encode()), "logprob": math.log(max(p, 1e-30))}
                for t, p in pairs
            ]
            end = {"token": "<|im_end|>", "bytes": list(b"<|im_end|>"), "logprob": 0.0}
            choice["logprobs"] = {"content": [*tokens, end]}
        return {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [choice],
            "usage": {
                "prompt_tokens": reply.prompt_tokens,
                "completion_tokens": reply.tokens,
                "total_tokens": reply.prompt_tokens + reply.tokens,
            },
        }

    def _parts(self, text):
        """The answer, and the thought where the server takes it apart."""
        thought, end, content = text.removeprefix("<think>").partition("</think>")
        if self.owner == "transformers" and end:
            return {"content": content.strip(), "reasoning_content": thought}
        if self.parser and not end:  # all of it may be a thought that has not ended yet
            return {"content": None, "reasoning": thought}
        if self.parser:
            return {"content": content, "reasoning": thought}
        return {"content": text}


# What transformers serve takes; it does nothing about some of them, without a word
_TRANSFORMERS_FIELDS = {
    "chat_template_kwargs",
    "frequency_penalty",
    "logprobs",
    "max_tokens",
    "messages",
    "model",
    "reasoning_effort",
    "temperature",
    "top_logprobs",
    "top_p",
}


def conversation_of(body):
    """Reads the messages of a request."""
    conversation = Conversation()
    for message in body["messages"]:
        parts = message["content"]
        parts = [parts] if isinstance(parts, str) else [_part(part) for part in parts]
        conversation = conversation.say(message["role"], *parts)
    return conversation


def _part(part):
    if part["type"] == "text":
        return part["text"]
    head, _, data = part["image_url"]["url"].partition(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    return Image(np.array(PILImage.open(io.BytesIO(base64.b64decode(data)))))


def answer_with(reasoner):
    """Lets a reasoner answer."""

    def answer(conversation, body):
        spec = reasoner.spec.replace(
            max_new_tokens=body["max_tokens"], temperature=body["temperature"]
        )
        return reasoner.generate([conversation], spec)[0]

    return answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if not self._may():
            return
        if self.path == "/v1/models":
            self.send(200, {"object": "list", "data": self.fake.cards})
        else:
            self.send(404, {"detail": "Not Found"})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._may():
            return
        if self.path != "/v1/chat/completions":
            self.send(404, {"detail": "Not Found"})
        elif body["model"] not in [card["id"] for card in self.fake.cards]:
            message = f"The model `{body['model']}` does not exist."
            self.send(404, {"error": {"message": message, "code": 404}})
        else:
            self.fake.complete(self, body)

    def _may(self):
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.fake.key in (None, given):
            return True
        # Some servers repeat the key
        self.send(401, {"error": {"message": f"Incorrect API key provided: {given}"}})
        return False

    def send(self, code, body, headers=None):
        raw = isinstance(body, bytes)
        data = body if raw else json.dumps(body).encode()
        chunked = "Transfer-Encoding" in (headers or {})
        if chunked:
            data = b"".join(b"%x\r\n%s\r\n" % (1, data[i : i + 1]) for i in range(len(data)))
            data += b"0\r\n\r\n"
        self._head(
            code,
            None if chunked else len(data),
            "text/html" if raw else "application/json",
            headers,
        )
        self.wfile.write(data)

    def send_part(self, data):
        self._head(200, len(data))
        self.wfile.write(data[: len(data) // 2])
        self.close_connection = True

    def drip(self, data, ended):
        self._head(200, len(data))
        for i in range(len(data)):
            if ended.wait(0.02):
                break
            self.wfile.write(data[i : i + 1])
            self.wfile.flush()
        self.close_connection = True

    def _head(self, code, length, kind="application/json", headers=None):
        self.send_response(code, self.fake.says)
        for name, value in {
            "X-Says": self.fake.says or "nothing",
            "Content-Type": kind,
            **({} if length is None else {"Content-Length": length}),
            **(headers or {}),
        }.items():
            self.send_header(name, str(value))
        self.end_headers()

    def log_message(self, *arguments):
        pass
