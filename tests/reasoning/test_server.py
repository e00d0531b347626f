"""A model on a server: what is sent, what comes back, and all that can go wrong on the way."""

import logging
import pickle
import threading
import time
from email.utils import formatdate

import numpy as np
import pytest
from fake_server import FakeServer, Fault, answer_with, status
from hypothesis import given
from hypothesis import strategies as st

from fiftyone_revseg.models.builtin import PRESETS
from fiftyone_revseg.reasoning import (
    ChainRequest,
    ChainSpec,
    Conversation,
    Image,
    LocalReasoner,
    ParseError,
    Reply,
    ServerReasoner,
    VideoFrames,
    parse_boxes,
    parse_choices,
    run_chain,
)
from fiftyone_revseg.reasoning.conventions import BOX_CONVENTIONS
from fiftyone_revseg.reasoning.patterns import box_pattern, choices_pattern, longest_thought
from fiftyone_revseg.reasoning.server import Backoff, ServerError
from fiftyone_revseg.reasoning.serving.backoff import retry_after
from fiftyone_revseg.reasoning.serving.replies import read_reply
from fiftyone_revseg.reasoning.serving.served import (
    ServedModel,
    check_url,
    choose_model,
    served_spec,
)
from fiftyone_revseg.reasoning.spec import family_spec
from fiftyone_revseg.synthetic import make_world
from fiftyone_revseg.types import FrameTable, Status

SECRET = "sk-3f9a-not-to-be-seen"
QUICK = Backoff(retries=2, first=0.01, longest=0.02)
SPEC = ChainSpec(frames=4, frame_size=28, key_frame_size=56)
QWEN = family_spec("qwen2_5_vl")


def echo(conversation, body):
    return Reply(f"you said {conversation.messages[-1].text}", prompt_tokens=7, tokens=3)


def sure(conversation, body):
    text = f"you said {conversation.messages[-1].text}"
    return Reply(text, (text,), (0.5,), prompt_tokens=7, tokens=2)


def ask(server, *texts, model="revseg-nano", **options):
    """Connects, asks one question for each text, and returns the replies."""
    options = {"spec": SPEC, "backoff": QUICK, "timeout": 5.0, **options}
    reasoner = ServerReasoner.connect(server.url, model, **options)
    try:
        return reasoner.generate([Conversation().say("user", text) for text in texts], SPEC)
    finally:
        reasoner.close()


def picture(seed=0, size=28):
    return Image(np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def local():
    return LocalReasoner.load(PRESETS["revseg-nano"].reasoner, device="cpu")


def requests(queries):
    frames, _ = (world := make_world(1, "test")).render()
    last = len(frames) - 1
    indices = tuple(round(i * last / 7) for i in range(8))
    table = FrameTable(
        indices, tuple(i / world.fps for i in indices), len(frames), last / world.fps
    )
    images, size = [frames[i] for i in indices], frames[0].shape[1::-1]
    return [ChainRequest(query, table, images, frames.__getitem__, size) for query in queries]


@pytest.mark.parametrize(
    "how",
    [{}, {"parser": True}, {"owner": "transformers"}],
    ids=["plain", "parser", "transformers"],
)
def test_the_same_trajectory_as_on_this_machine(local, how):
    asked = requests(["the object that appears last", "the red circle", "all squares"])
    here = run_chain(local, local.spec, asked)
    with FakeServer(answer_with(local), **how) as server:
        reasoner = ServerReasoner.connect(server.url, "revseg-nano", image_format="png")
        assert reasoner.spec == local.spec
        there = run_chain(reasoner, reasoner.spec, asked)
        reasoner.close()
    assert {t.status for t in there} <= {Status.OK, Status.NO_TARGET}
    for a, b in zip(here, there, strict=True):
        assert (a.status, a.reason, a.think, a.choices) == (b.status, b.reason, b.think, b.choices)
        assert [g and g.box_xyxy_px for g in a.groundings] == [
            g and g.box_xyxy_px for g in b.groundings
        ]
        for one, other in zip(a.turns, b.turns, strict=True):
            assert (one.prompt, one.reply) == (other.prompt, other.reply)
            assert (one.tokens, one.prompt_tokens) == (other.tokens, other.prompt_tokens)
            if "owner" in how:
                assert other.confidence is None
            else:
                assert other.confidence == pytest.approx(one.confidence, abs=1e-5)


def test_what_is_sent():
    conversation = (
        Conversation()
        .say("system", "be brief")
        .say("user", "one", " and two:", picture(), "three")
        .say("assistant", "fine")
        .say("user", "go on")
    )
    with FakeServer(lambda c, body: Reply(c.messages[1].text)) as server:
        reasoner = ServerReasoner.connect(server.url, "revseg-nano", SPEC, image_format="png")
        spec = SPEC.replace(max_new_tokens=17, temperature=0.25)
        (reply,) = reasoner.generate([conversation], spec)
        reasoner.close()
    assert reply.text == "one and two:[image]three"
    (body,) = server.bodies
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("revseg-nano", 17, 0.25)
    assert (body["top_p"], body["top_k"], body["repetition_penalty"]) == (1.0, -1, 1.0)
    assert [m["role"] for m in body["messages"]] == ["system", "user", "assistant", "user"]
    assert body["messages"][2]["content"] == "fine"
    kinds = [part["type"] for part in body["messages"][1]["content"]]
    assert kinds == ["text", "image_url", "text"]


@pytest.mark.parametrize(
    ("options", "largest"), [({"image_format": "png"}, 0), ({}, 40), ({"image_quality": 10}, 255)]
)
def test_pictures_arrive(options, largest):
    seen = []

    def answer(conversation, body):
        seen.append(conversation.messages[0].content[0].pixels)
        return Reply("fine")

    image = Image(np.tile(np.arange(28, dtype=np.uint8)[:, None, None] * 9, (1, 28, 3)))
    with FakeServer(answer) as server:
        reasoner = ServerReasoner.connect(server.url, "revseg-nano", SPEC, **options)
        reasoner.generate([Conversation().say("user", image)], SPEC)
        reasoner.close()
    assert np.abs(seen[0].astype(int) - image.pixels).max() <= largest
    assert seen[0].shape == image.pixels.shape


def test_usage_and_time():
    with FakeServer(echo) as server:
        (reply,) = ask(server, "hello")
    assert (reply.text, reply.prompt_tokens, reply.tokens) == ("you said hello", 7, 3)
    assert reply.seconds > 0
    assert reply.confidence(0, 3) is None


PASSING = {
    "429": (status(429, "slow down", Retry_After=0), "is too busy .429.: slow down"),
    "500": (status(500, "oh no"), "failed .500.: oh no"),
    "503": (Fault("text", 503, "<html>down</html>"), "failed .503.: .*down"),
    "drop": (Fault("drop"), "cut the connection"),
    "cut": (Fault("cut"), "cut the connection"),
    "no JSON": (Fault("text", 200, "<html>hello"), "is no JSON: '<html>hello'"),
    "no choices": (Fault("body", 200, {"choices": []}), "without any choice"),
    "no text": (Fault("body", 200, {"choices": [{"message": None}]}), "without any text"),
    "a list": (Fault("body", 200, [1, 2]), "without any choice"),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_may_pass_is_asked_again(name):
    fault, words = PASSING[name]
    with FakeServer(echo, fault=lambda number, body: fault if number < 2 else None) as server:
        (reply,) = ask(server, "hello")
        assert reply.text == "you said hello"
        assert len(server.bodies) == 3
    with FakeServer(echo, fault=lambda number, body: fault) as server:
        (error,) = ask(server, "hello")
        assert len(server.bodies) == 3
    assert isinstance(error, ServerError)
    with pytest.raises(ServerError, match=words):
        raise error
    assert server.url in str(error)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault("text", 200, "[" * 5000), "more than 1000"),
        (Fault("text", 500, "[" * 5000), "more than 1000"),
        (Fault("text", 200, "[" * 5000, {"Transfer-Encoding": "chunked"}), "more than 1000"),
        (Fault("text", 200, "[1]", {"Content-Encoding": "gzip"}), "is compressed"),
    ],
    ids=["length", "error", "chunks", "compressed"],
)
def test_an_answer_of_any_size_is_not_read(fault, words, monkeypatch):
    monkeypatch.setattr("fiftyone_revseg.reasoning.serving.body_limit.MOST", 1000)
    with FakeServer(echo, fault=lambda number, body: fault) as server:
        (error,) = ask(server, "hello")
        assert len(server.bodies) == 1
    assert isinstance(error, ServerError)
    assert words in str(error)


FINAL = {
    400: "refuses the request .400.: no good",
    401: "does not accept the key in REVSEG_SERVER_KEY",
    403: "does not accept the key in REVSEG_SERVER_KEY",
    404: "has no such model, or is at another path .404.: no good",
    413: "takes no request of this size",
    422: "refuses the request .422.: no good",
}


@pytest.mark.parametrize("code", FINAL)
def test_what_cannot_heal_is_not_asked_again(code):
    with FakeServer(echo, fault=lambda number, body: status(code, "no good")) as server:
        (error,) = ask(server, "hello", key=SECRET)
    with pytest.raises(ServerError, match=FINAL[code]):
        raise error
    # Where it may be an extra that is refused, that is found out without the question
    asked = [body for body in server.bodies if "hello" in str(body["messages"])]
    assert len(asked) == 1
    assert len(server.bodies) == (3 if code in (400, 422) else 1)


# server -> extras that it refuses -> what is asked for on top of the second question
REFUSED = [
    ("vllm", ["structured_outputs"], {"logprobs", "chat_template_kwargs"}),
    ("vllm", ["logprobs", "structured_outputs"], {"chat_template_kwargs"}),
    ("vllm", ["chat_template_kwargs"], {"logprobs", "structured_outputs"}),
    ("someone", ["frequency_penalty"], {"logprobs", "reasoning_effort"}),
    ("someone", ["logprobs", "frequency_penalty", "reasoning_effort"], set()),
]


@pytest.mark.parametrize(("owner", "refused", "left"), REFUSED)
def test_what_a_server_refuses_is_found_out_without_pictures(owner, refused, left, caplog):
    def fault(number, body):
        return status(400, "extra inputs") if set(refused) & set(body) else None

    extras = {"logprobs", "structured_outputs", "chat_template_kwargs", "frequency_penalty"}
    extras.add("reasoning_effort")
    asked = Conversation(thinking="low").say("user", picture(), "hello").expect("[ab]+")
    with FakeServer(sure, owner=owner, fault=fault) as server:
        reasoner = ServerReasoner.connect(server.url, "revseg-nano", SPEC)
        for _ in range(2):
            replies = reasoner.generate([asked, asked], SPEC)
            assert all(reply.text.startswith("you said") for reply in replies)
        reasoner.close()
    shown = [body for body in server.bodies if "image_url" in str(body["messages"])]
    assert len(shown) == 6  # the two of the first batch were sent twice
    assert set(shown[-1]) & extras == left
    small = [body for body in server.bodies if body not in shown]
    assert 0 < len(small) <= 8
    assert {body.get("max_tokens", body.get("max_completion_tokens")) for body in small} == {16}
    assert caplog.text.count("The server at") == len(refused)


def test_models_that_take_no_temperature_and_another_limit(caplog):
    """As the thinking models of OpenAI do."""
    refused = {"max_tokens", "temperature", "top_p", "logprobs", "frequency_penalty"}

    def fault(number, body):
        return status(400, "unsupported parameter") if refused & set(body) else None

    asked = Conversation(thinking="low").say("user", picture(), "hello")
    with FakeServer(sure, owner="system", fault=fault) as server:
        reasoner = ServerReasoner.connect(server.url, "revseg-nano", SPEC)
        for _ in range(2):
            reasoner.generate([asked], SPEC)
        reasoner.close()
    shown = [body for body in server.bodies if "image_url" in str(body["messages"])]
    assert len(shown) == 3
    assert shown[-1]["max_completion_tokens"] == SPEC.max_new_tokens
    assert shown[-1]["reasoning_effort"] == "low"
    assert caplog.text.count("lets nobody choose the temperature") == 1


@pytest.mark.parametrize("owner", ["vllm", "system"])
@pytest.mark.parametrize("refused", ["seed", "temperature"])
def test_samples_of_a_server_that_takes_no_seed_or_no_temperature(owner, refused, caplog):
    def fault(number, body):
        return status(422, "unsupported parameter") if refused in body else None

    greedy = Conversation().say("user", picture(), "hello")
    sampled = [greedy.sampled(0.8, seed) for seed in (1, 2)]
    with FakeServer(sure, owner=owner, fault=fault) as server:
        reasoner = ServerReasoner.connect(server.url, "revseg-nano", SPEC)
        for _ in range(2):
            replies = reasoner.generate([greedy, *sampled], SPEC)
            assert [reply.probability(0, 3) for reply in replies] == [0.5] * 3
        reasoner.close()
    last = server.bodies[-3:]
    assert all("seed" not in body for body in last)
    told = sorted(body.get("temperature", -1) for body in last)
    assert told == ([0.0, 0.8, 0.8] if refused == "seed" else [-1, -1, -1])
    assert caplog.text.count("The server at") == 1


def test_a_seed_goes_with_samples_alone():
    greedy = Conversation().say("user", "hello")
    with FakeServer(sure) as server:
        reasoner = ServerReasoner.connect(server.url, "revseg-nano", SPEC)
        reasoner.generate([greedy, greedy.sampled(0.8, 3), greedy.sampled(0.0, 3)], SPEC)
        reasoner.close()
    told = sorted((body["temperature"], body.get("seed")) for body in server.bodies)
    assert told == [(0.0, None), (0.0, None), (0.8, 3)]


def test_a_request_that_is_refused_for_itself_changes_nothing(caplog):
    def fault(number, body):
        return status(400, "too many images") if "image_url" in str(body["messages"]) else None

    asked = Conversation().say("user", picture(), "hello").expect("[ab]+")
    with FakeServer(echo, fault=fault) as server:
        reasoner = ServerReasoner.connect(server.url, "revseg-nano", SPEC)
        (error,) = reasoner.generate([asked], SPEC)
        assert len(server.bodies) == 2
        reasoner.generate([Conversation().say("user", "hi").expect("[ab]+")], SPEC)
        reasoner.close()
    assert "too many images" in str(error)
    assert "structured_outputs" in server.bodies[-1]
    assert "regular expressions" not in caplog.text


@pytest.mark.parametrize("kind", ["hang", "drip"])
def test_no_answer_in_time(kind):
    with FakeServer(echo, fault=lambda number, body: Fault(kind)) as server:
        started = time.monotonic()
        options = {"timeout": 0.2, "backoff": Backoff(retries=1, first=0.01)}
        (error,) = ask(server, "hello", **options)
        assert time.monotonic() - started < 3
        assert len(server.bodies) == 2
    assert "gave no complete answer within 0.2 s" in str(error)


def test_the_deadline_bounds_all_attempts():
    with FakeServer(echo, fault=lambda number, body: Fault("hang")) as server:
        started = time.monotonic()
        backoff = Backoff(retries=100, first=0.01, longest=0.01)
        (error,) = ask(server, "hello", timeout=0.2, deadline=0.5, backoff=backoff)
        assert 0.4 < time.monotonic() - started < 3
        assert 2 <= len(server.bodies) <= 3
    assert "within" in str(error)


def test_the_server_says_when():
    fault = status(429, "busy", Retry_After="0.3")
    with FakeServer(echo, fault=lambda number, body: fault if number < 1 else None) as server:
        (reply,) = ask(server, "hello")
    assert reply.text == "you said hello"
    first, second = server.times
    assert second - first >= 0.3
    fault = status(503, "restarting", Retry_After="7200")
    with FakeServer(echo, fault=lambda number, body: fault) as server:
        (error,) = ask(server, "hello")
    assert len(server.bodies) == 1
    assert "asks to wait 7200 s" in str(error)


def test_retry_after_takes_numbers_and_dates():
    assert retry_after({}) is None
    assert retry_after({"retry-after": "12"}) == 12
    assert retry_after({"retry-after": "-3"}) == 0
    assert 50 < retry_after({"retry-after": formatdate(time.time() + 60, usegmt=True)}) <= 61
    for odd in ("soon", "nan", "inf", "", "Mon, 99 Foo"):
        assert retry_after({"retry-after": odd}) is None


@given(st.integers(0, 10_000), st.none() | st.floats(0, 1e6), st.floats(0, 60), st.floats(0, 2))
def test_pauses_grow_to_a_limit_and_never_undercut_the_server(attempt, asked, first, jitter):
    pause = Backoff(first=first, longest=30, jitter=jitter).pause(attempt, asked)
    least = max(min(first * 2 ** min(attempt, 60), 30), asked or 0)
    assert least <= pause <= least * (1 + jitter) + 1e-9


def test_one_that_fails_takes_no_other_along():
    def fault(number, body):
        return status(400, "no good") if "bad" in str(body["messages"]) else None

    with FakeServer(sure, fault=fault) as server:
        one, bad, two = ask(server, "one", "bad", "two")
    assert (one.text, two.text) == ("you said one", "you said two")
    assert isinstance(bad, ServerError)
    assert len(server.bodies) == 4
    # Nor does it change how the others are asked
    assert all(body["logprobs"] is True for body in server.bodies)


def test_in_a_chain_a_failure_is_a_status():
    def fault(number, body):
        return status(500, "oh no") if "red circle" in str(body["messages"]) else None

    def answer(conversation, body):
        return Reply("<think>x</think><answer>[]</answer>")

    frame = np.zeros((40, 80, 3), np.uint8)
    table = FrameTable((0, 1), (0.0, 0.1), 2, 0.1)
    asked = [
        ChainRequest(query, table, [frame, frame], lambda k: frame, (80, 40))
        for query in ("the red circle", "the dog")
    ]
    with FakeServer(answer, fault=fault) as server:
        reasoner = ServerReasoner.connect(server.url, "revseg-nano", SPEC, backoff=QUICK)
        red, dog = run_chain(reasoner, SPEC, asked)
        reasoner.close()
    assert (red.status, dog.status) == (Status.ERROR, Status.NO_TARGET)
    assert "failed (500): oh no" in red.reason
    assert len(server.bodies) == 4


def test_the_limit_holds_for_all_threads_together():
    def slow(conversation, body):
        time.sleep(0.03)
        return Reply("fine")

    with FakeServer(slow) as server:
        reasoner = ServerReasoner.connect(server.url, "revseg-nano", SPEC, concurrency=3)
        conversations = [Conversation().say("user", str(i)) for i in range(8)]
        threads = [
            threading.Thread(target=reasoner.generate, args=(conversations, SPEC)) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        reasoner.close()
        assert len(server.bodies) == 16
        assert server.most_in_flight == 3


@pytest.mark.parametrize(("owner", "most"), [("vllm", 16), ("transformers", 1), ("someone", 16)])
def test_no_more_are_asked_at_a_time_than_a_server_works_on(owner, most):
    with FakeServer(echo, owner=owner) as server:
        for asked, taken in ((None, most), (5, 5)):
            reasoner = ServerReasoner.connect(server.url, "revseg-nano", SPEC, concurrency=asked)
            assert reasoner.concurrency == taken
            reasoner.close()


def test_as_many_are_asked_at_a_time_as_a_server_takes(scripted, request_for):
    reply = '<think>a</think><answer>[{"frame_idx": 1, "object description": "a"}]</answer>'
    box = '[{"bbox_2d": [1, 2, 30, 40], "label": "a"}]'
    reasoner = scripted(lambda c: box if len(c.messages) > 1 else reply)
    reasoner.concurrency = 16
    run_chain(reasoner, SPEC, [request_for(f"query {i}") for i in range(20)])
    assert [len(batch) for batch in reasoner.batches] == [16, 16, 4, 4]


def test_what_is_dropped_without_being_closed_leaves_nothing_behind():
    import gc
    import sys
    import warnings

    dropped = threading.Event()

    def slow(conversation, body):
        assert conversation.messages[0].text != "wait" or dropped.wait(20)
        return Reply("fine")

    def drop(server):
        reasoner = ServerReasoner.connect(server.url, "revseg-nano", SPEC)
        reasoner.generate([Conversation().say("user", str(i)) for i in range(4)], SPEC)
        return reasoner._client.loop._thread

    unraised = []
    with (
        FakeServer(slow) as server,
        warnings.catch_warnings(record=True) as warned,
        pytest.MonkeyPatch.context() as patch,
    ):
        warnings.simplefilter("always", ResourceWarning)
        patch.setattr(sys, "unraisablehook", lambda found: unraised.append(found.exc_value))
        patch.setattr(threading, "excepthook", lambda found: unraised.append(found.exc_value))
        other = ServerReasoner.connect(server.url, "revseg-nano", SPEC)
        conversations = [Conversation().say("user", "wait") for _ in range(4)]
        running = threading.Thread(target=other.generate, args=(conversations, SPEC))
        running.start()
        thread = drop(server)
        gc.collect()
        thread.join(5)
        assert not thread.is_alive()
        gc.collect()
        assert running.is_alive()
        dropped.set()
        running.join()
        other.close()
    assert unraised == []
    assert [str(found.message) for found in warned if "socket" in str(found.message)] == []


def test_who_waits_is_told_that_another_thread_closed_the_connections():
    with FakeServer(echo, fault=lambda number, body: Fault("hang")) as server:
        reasoner = ServerReasoner.connect(server.url, "revseg-nano", SPEC)
        said = []

        def work():
            try:
                reasoner.generate([Conversation().say("user", "hello")], SPEC)
            except RuntimeError as error:
                said.append(str(error))

        thread = threading.Thread(target=work)
        thread.start()
        while not server.bodies:
            time.sleep(0.01)
        reasoner.close()
        thread.join(5)
    assert said == ["the connections were closed while they were in use"]


def test_a_server_that_was_stopped_is_not_waited_for(monkeypatch):
    """As llama.cpp does: it takes no more connections, and never ends what is open."""
    monkeypatch.setattr("fiftyone_revseg.reasoning.serving.listening.EVERY", 0.05)
    with FakeServer(echo, fault=lambda number, body: Fault("hang")) as server:
        reasoner = ServerReasoner.connect(
            server.url, "revseg-nano", SPEC, timeout=60, backoff=Backoff(retries=1, first=0.01)
        )
        stopping = threading.Timer(0.3, server.stop_listening)
        stopping.start()
        started = time.monotonic()
        (error,) = reasoner.generate([Conversation().say("user", "hello")], SPEC)
        assert 0.3 < time.monotonic() - started < 10
        reasoner.close()
    assert "No server answers at" in str(error)
    assert len(server.bodies) == 1


def test_a_server_that_goes_on_listening_is_waited_for(monkeypatch):
    monkeypatch.setattr("fiftyone_revseg.reasoning.serving.listening.EVERY", 0.02)

    def slow(conversation, body):
        time.sleep(0.3)
        return Reply("fine")

    with FakeServer(slow) as server:
        (reply,) = ask(server, "hello")
    assert reply.text == "fine"


def test_it_works_within_a_running_loop():
    """As in a notebook."""
    import asyncio

    async def main(server):
        return ask(server, "hello")

    with FakeServer(echo) as server:
        (reply,) = asyncio.run(main(server))
    assert reply.text == "you said hello"


@pytest.mark.parametrize("owner", ["vllm", "sglang", "someone"])
def test_replies_are_constrained_where_that_is_offered(owner):
    asked = Conversation().say("user", "hello").expect("[ab]+")
    with FakeServer(echo, owner=owner) as server:
        for structured in (None, False):
            reasoner = ServerReasoner.connect(
                server.url, "revseg-nano", SPEC, structured=structured
            )
            reasoner.generate([asked, Conversation().say("user", "free")], SPEC)
            reasoner.close()
    fields = {
        (body.get("structured_outputs", {}).get("regex"), body.get("regex"))
        for body in server.bodies
        if "hello" in str(body["messages"])
    }
    free = [body for body in server.bodies if "free" in str(body["messages"])]
    assert not any("structured_outputs" in body or "regex" in body for body in free)
    pairs = {"vllm": ("[ab]+", None), "sglang": (None, "[ab]+"), "someone": (None, None)}
    assert {pairs[owner], (None, None)} == fields
    assert all(("top_k" in body) == (owner != "someone") for body in server.bodies)


def test_constraints_that_are_refused_are_left_out_from_then_on(caplog):
    def fault(number, body):
        return status(400, "no grammar backend") if "structured_outputs" in body else None

    asked = Conversation().say("user", "hello").expect("[ab]+")
    with FakeServer(echo, fault=fault) as server:
        reasoner = ServerReasoner.connect(server.url, "revseg-nano", SPEC)
        for _ in range(2):
            (reply,) = reasoner.generate([asked], SPEC)
            assert reply.text == "you said hello"
        reasoner.close()
    bodies = [body for body in server.bodies if "hello" in str(body["messages"])]
    assert ["structured_outputs" in body for body in bodies] == [True, False, False]
    assert caplog.text.count("refuses regular expressions") == 1


def test_probabilities_that_are_refused_are_left_out_from_then_on(caplog):
    def fault(number, body):
        return status(400, "logprobs are not supported") if "logprobs" in body else None

    with FakeServer(echo, owner="someone", fault=fault) as server:
        reasoner = ServerReasoner.connect(server.url, "revseg-nano", SPEC)
        for _ in range(2):
            reasoner.generate([Conversation().say("user", "hello")], SPEC)
        reasoner.close()
    bodies = [body for body in server.bodies if "hello" in str(body["messages"])]
    assert ["logprobs" in body for body in bodies] == [True, False, False]
    assert caplog.text.count("gives no probabilities") == 1


def test_only_the_default_prompts_constrain(scripted, request_for):
    reply = '<think> a </think> <answer> [{"frame_idx": 1, "object description": "a"}] </answer>'
    box = '[{"bbox_2d": [1, 2, 30, 40], "label": "a"}]'

    def script(conversation):
        return box if len(conversation.messages) > 1 else reply

    reasoner = scripted(script)
    run_chain(reasoner, reasoner.spec, [request_for()])
    (first,), (second,) = reasoner.batches
    thought = longest_thought(1024)
    assert first.pattern == choices_pattern(4, thought)
    assert second.pattern == box_pattern(BOX_CONVENTIONS["pixels"], thought)
    reasoner = scripted(script)
    own = {"turn1": "{frames}Find {query}", "turn2": "{image}Detect {description}"}
    run_chain(reasoner, reasoner.spec.replace(prompts=own), [request_for()])
    assert [batch[0].pattern for batch in reasoner.batches] == [None, None]


@given(st.data())
def test_all_that_the_pattern_of_turn_1_allows_can_be_read(data):
    alphabet = st.characters(min_codepoint=32, max_codepoint=0x2FFF)
    reply = data.draw(st.from_regex(choices_pattern(12, 60), fullmatch=True, alphabet=alphabet))
    assert all(0 <= choice.frame < 12 for choice in parse_choices(reply, 12))


@pytest.mark.parametrize("convention", BOX_CONVENTIONS)
@given(st.data())
def test_all_that_the_pattern_of_turn_2_allows_has_four_numbers(convention, data):
    alphabet = st.characters(min_codepoint=32, max_codepoint=0x2FFF)
    pattern = box_pattern(BOX_CONVENTIONS[convention], 60)
    reply = data.draw(st.from_regex(pattern, fullmatch=True, alphabet=alphabet))
    found = read_boxes(reply, convention)
    if isinstance(found, list):
        assert len(found) == 1
    else:
        whys = ("empty or outside", "seem to be", "go beyond", "turned around along one side")
        assert any(why in found for why in whys)


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
@pytest.mark.parametrize(
    ("message", "more", "text"),
    [
        ({"content": "[1]", "": "hm"}, {}, "<think>hm</think>[1]"),
        ({"content": None, "": "<answer>[1]</answer>"}, {}, "<answer>[1]</answer>"),
        ({"content": "", "": '[{"bbox_2d": [1]}]'}, {}, '[{"bbox_2d": [1]}]'),
        ({"content": "", "": "```json\n[1]\n```"}, {}, "```json\n[1]\n```"),
        ({"content": "", "": "(1,2),(3,4)"}, {}, "(1,2),(3,4)"),
        ({"content": "", "": "Hm. <answer>[1]</answer>"}, {}, "Hm. <answer>[1]</answer>"),
        ({"content": "\n", "": "Maybe [1]"}, {}, "<think>Maybe [1]</think>"),
        ({"": "[1] or [2]"}, {}, "<think>[1] or [2]</think>"),
        ({"": "[Frame 1] is [1, 2]"}, {}, "<think>[Frame 1] is [1, 2]</think>"),
        ({"": "[1] is a cat: []"}, {}, "<think>[1] is a cat: []</think>"),
        ({"": "[[1], [2]"}, {}, "<think>[[1], [2]</think>"),
        ({"": "so [1]</answer>"}, {}, "<think>so [1]</answer></think>"),
        ({"": "Maybe [1]"}, {"finish_reason": "length"}, "<think>Maybe [1]"),
        ({"": "[1]"}, {"finish_reason": "length"}, "<think>[1]"),
        (
            {"content": None, "": "[1]"},
            {"logprobs": {"content": [{"token": "[1]"}, {"token": "</think>"}]}},
            "<think>[1]</think>",
        ),
    ],
)
def test_thoughts_that_come_apart(name, message, more, text):
    message = {key or name: value for key, value in message.items()}
    answer = {"choices": [{"message": message, "finish_reason": "stop", **more}]}
    reply = read_reply(answer, "http://x/v1")
    assert reply.text == text
    assert reply.cut == (more.get("finish_reason") == "length")
    assert ("reasoning parser" in reply.remark) == text.endswith("</think>")


PARTS = [
    {
        "type": "thinking",
        "thinking": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}],
    },
    {"type": "text", "text": "<answer>"},
    {"type": "text", "text": "[]</answer>"},
]


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (PARTS[1:], "<answer>[]</answer>"),
        (PARTS, "<think>hm</think><answer>[]</answer>"),
        ([None, 5, {"type": "text"}, *PARTS[1:]], "<answer>[]</answer>"),
    ],
)
def test_a_reply_in_parts(parts, text):
    answer = {"choices": [{"message": {"content": parts}, "finish_reason": "stop"}]}
    assert read_reply(answer, "url").text == text


def refused(message, ended="stop"):
    return {"choices": [{"message": message, "finish_reason": ended}]}


@pytest.mark.parametrize(
    ("body", "words", "asked"),
    [
        ({"error": {"message": "no GPU is left"}}, "no GPU is left", 3),
        ({"error": "no GPU is left"}, "no GPU is left", 3),
        ({"error": {"message": "too busy there", "code": 429}}, "too busy there", 3),
        ({"error": {"message": "no credits", "code": 402}, "choices": []}, "no credits", 1),
        (refused({"content": None}, "content_filter"), "filter", 1),
        (refused({"content": "[]"}, "content_filter: SAFETY"), "SAFETY", 1),
        (refused({"content": None, "refusal": "I can't help"}), "I can't help", 1),
        (refused({"content": None}, "tool_calls"), "it ended with 'tool_calls'", 3),
    ],
)
def test_what_a_server_says_where_all_seems_well(body, words, asked):
    with FakeServer(echo, fault=lambda number, b: Fault("body", 200, body)) as server:
        (error,) = ask(server, "hello")
    assert isinstance(error, ServerError)
    assert words in str(error)
    assert len(server.bodies) == asked


def test_a_reply_that_is_reasoning_only_is_explained():
    frame = np.zeros((40, 80, 3), np.uint8)
    request = ChainRequest("the dog", FrameTable((0,), (0.0,), 1, 0.1), [frame], None, (80, 40))
    message = {"content": None, "reasoning": "The dog may be in frame 0."}
    body = {"choices": [{"message": message, "finish_reason": "stop"}]}
    with FakeServer(echo, fault=lambda number, b: Fault("body", 200, body)) as server:
        reasoner = ServerReasoner.connect(server.url, "revseg-nano", SPEC, backoff=QUICK)
        (found,) = run_chain(reasoner, SPEC, [request])
        reasoner.close()
    assert found.status is Status.BAD_KEYFRAME
    assert "nothing follows the thought" in found.reason
    assert "without a reasoning parser" in found.reason
    assert found.think == "The dog may be in frame 0."


def read_boxes(reply, convention):
    """The boxes; or why there are none."""
    try:
        return parse_boxes(reply, convention, 840, (840, 840))
    except ParseError as error:
        return str(error)


def test_usual_replies_match():
    import re

    turn1 = [
        '<think> A dog. It\nruns. </think> <answer> [{"frame_idx": 15, "object description": '
        '"a brown dog"}] </answer>',
        "<think>none</think><answer>[]</answer>",
        '<think>two</think>\n<answer>\n[{"frame_idx": 0, "object description": "a"}, '
        '{"frame_idx": 9, "object description": "b"}]\n</answer>',
    ]
    assert all(re.fullmatch(choices_pattern(16, 1536), reply) for reply in turn1)
    turn2 = [
        '[{"bbox_2d": [10, 20, 300, 400], "label": "a dog"}]',
        '[\n{"bbox_2d": [10.5, 20, 300, 400]}\n]',
        '```json\n[{"bbox_2d": [10, 20, 300, 400], "label": "a dog"}]\n```',
        '<think>there</think> <answer>[{"bbox_2d": [1, 2, 3, 4], "label": "a"}]</answer>',
    ]
    pattern = box_pattern(BOX_CONVENTIONS["pixels"], 1536)
    assert all(re.fullmatch(pattern, reply) for reply in turn2)


def test_a_thought_that_goes_round_in_circles_has_an_end():
    import re

    assert [longest_thought(tokens) for tokens in (1, 256, 1024, 4096)] == [0, 256, 1536, 7680]
    for pattern, answer in (
        (choices_pattern(4, 100), "<answer>[]</answer>"),
        (box_pattern(BOX_CONVENTIONS["pixels"], 100), '[{"bbox_2d": [1, 2, 3, 4]}]'),
    ):
        assert re.fullmatch(pattern, f"<think>{'so ' * 33}.</think>{answer}")
        assert not re.fullmatch(pattern, f"<think>{'so ' * 34}</think>{answer}")


TOKENS = [
    {"token": "h", "bytes": [104], "logprob": -0.5},
    {"token": "\ufffd", "bytes": [0xC3], "logprob": -0.25},
    {"token": "\ufffd", "bytes": [0xA9], "logprob": 0.0},
    {"token": "<|im_end|>", "bytes": list(b"<|im_end|>"), "logprob": -0.1},
]


def completion(text, tokens=None, **message):
    choice = {"message": {"content": text, **message}, "logprobs": {"content": tokens}}
    return {"choices": [choice]}


def test_characters_of_several_tokens_are_put_together():
    reply = read_reply(completion("h\u00e9", TOKENS), "url")
    assert reply.token_texts == ("h", "", "\u00e9")
    assert reply.token_probabilities[2] == 1.0
    assert reply.tokens == 4


@pytest.mark.parametrize(
    "tokens",
    [None, "x", [None], [{}], [{"token": "h"}], [{"token": "other", "logprob": -1.0}], TOKENS[1:]],
)
def test_probabilities_that_do_not_fit_are_left_out(tokens):
    reply = read_reply(completion("h\u00e9", tokens), "url")
    assert (reply.text, reply.token_texts, reply.token_probabilities) == ("h\u00e9", (), ())


def test_a_thought_that_was_taken_apart_is_put_back():
    answer = completion("<answer>[]</answer>", reasoning_content="hm")
    assert read_reply(answer, "url").text == "<think>hm</think><answer>[]</answer>"
    # transformers serve strips what stands between them
    stripped = read_reply(answer, "url", "transformers").text
    assert stripped == "<think>hm</think> <answer>[]</answer>"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:8000/v1", "http://localhost:8000/v1"),
        (" http://localhost:8000/v1/ ", "http://localhost:8000/v1"),
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("https://gpu.example.org/serving/openai/v1/", "https://gpu.example.org/serving/openai/v1"),
    ],
)
def test_addresses(url, expected):
    assert check_url(url) == expected


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://x/v1", "http://", "http://x:port/v1", 5]
)
def test_what_is_no_address(url):
    with pytest.raises(ValueError, match="is no address of a server"):
        check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{SECRET}@host/v1",
        f"http://{SECRET}@host/v1",
        f"http://host/v1?key={SECRET}",
        f"ftp://user:{SECRET}@host/v1",
    ],
)
def test_addresses_have_no_secret(url):
    with pytest.raises(ValueError, match=r"leave them out|is no address") as caught:
        check_url(url)
    assert SECRET not in str(caught.value)


def test_how_a_served_model_wants_to_be_asked(tmp_path):
    assert served_spec(ServedModel("mine", "Qwen/Qwen2.5-VL-7B-Instruct")) == QWEN
    assert served_spec(ServedModel("Qwen/Qwen3-VL-8B-Instruct")).key_frame_size == 1024
    assert served_spec(ServedModel("zai-org/GLM-4.5V")).box_convention == "relative-1000"
    assert served_spec(ServedModel("revseg-nano")).frames == 8
    assert served_spec(ServedModel("m", PRESETS["revseg-nano"].reasoner)).frame_size == 96
    assert served_spec(ServedModel("m", "Qwen/Qwen2.5-VL-7B-Instruct"), {"frames": 5}).frames == 5
    spec = ChainSpec(frames=3, box_convention="relative-1000")
    assert served_spec(ServedModel("m"), spec) == spec
    spec.save(tmp_path)
    assert served_spec(ServedModel("m"), tmp_path) == spec
    for name in ("m", "/models/qwen2.5-vl", "someone/Qwen2.5-VL-7B-other"):
        with pytest.raises(ValueError, match="box_convention"):
            served_spec(ServedModel(name, name))
    with pytest.raises(ValueError, match="frame_encoding to 'images'"):
        served_spec(ServedModel("m"), ChainSpec(frame_encoding="video"))


def test_gemini_is_known_with_its_boxes():
    url = "https://generativelanguage.googleapis.com/v1beta/openai"
    assert check_url(" Gemini ") == check_url(url + "/") == url
    listed = [ServedModel("models/gemini-9-pro"), ServedModel("models/gemma-9")]
    model = choose_model(listed, "gemini-9-pro", url)
    assert model.id == "models/gemini-9-pro"
    spec = served_spec(model)
    assert spec.box_convention == "relative-1000-y-first"
    assert spec.thinking_tokens > 1000
    assert served_spec(model, {"frames": 5}).frames == 5
    assert served_spec(ServedModel("google/gemini-9-pro")) == spec
    for name in ("gemini-9-pro", "someone/gemini-9-pro", "models/gemma-9"):
        with pytest.raises(ValueError, match="box_convention"):
            served_spec(ServedModel(name))


def test_a_thought_that_is_not_shown_may_be_cut_off_too():
    """Hosts count hidden thoughts as written: where these take all, there is no text at all."""
    frame = np.zeros((40, 80, 3), np.uint8)
    request = ChainRequest("the dog", FrameTable((0,), (0.0,), 1, 0.1), [frame], None, (80, 40))

    def fault(number, body):
        if body.get("reasoning_effort") == "none":
            return None
        choice = {"message": {"role": "assistant"}, "finish_reason": "length"}
        return Fault("body", 200, {"choices": [choice], "usage": {"completion_tokens": 60}})

    def answer(conversation, body):
        return Reply("<answer>[]</answer>")

    with FakeServer(answer, owner="google", fault=fault) as server:
        reasoner = ServerReasoner.connect(server.url, "revseg-nano", SPEC, backoff=QUICK)
        (found,) = run_chain(reasoner, SPEC, [request])
        reasoner.close()
    assert found.status is Status.NO_TARGET
    assert [turn.tokens for turn in found.turns] == [60, 0]
    assert "asked again without thinking" in found.turns[0].error
    assert len(server.bodies) == 2


def test_videos_are_refused_in_words():
    video = VideoFrames((picture().pixels,) * 2, (0.0, 1.0))
    with FakeServer(echo) as server:
        reasoner = ServerReasoner.connect(server.url, "revseg-nano", SPEC)
        (error,) = reasoner.generate([Conversation().say("user", video)], SPEC)
        reasoner.close()
    assert "a server is sent images" in str(error)
    assert not server.bodies


def test_a_model_that_is_not_there():
    with (
        FakeServer(echo, model="other") as server,
        pytest.raises(ValueError, match="has no model 'revseg-nano': it serves 'other'"),
    ):
        ServerReasoner.connect(server.url, "revseg-nano")


def test_a_preset_is_found_by_its_checkpoint():
    with FakeServer(echo, model="Qwen/Qwen2.5-VL-7B-Instruct") as server:
        reasoner = ServerReasoner.connect(server.url, "revseg-qwen2.5-vl-7b")
        assert (reasoner.name, reasoner.spec) == ("Qwen/Qwen2.5-VL-7B-Instruct", QWEN)
        reasoner.close()


def test_no_server_and_no_such_server():
    with FakeServer(echo) as server:
        url = server.url
        with pytest.raises(ValueError, match=r"at another path .404."):
            ServerReasoner.connect(url + "/other", "revseg-nano")
    with pytest.raises(ValueError, match="No server answers at"):
        ServerReasoner.connect(url, "revseg-nano")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"concurrency": 0}, "concurrency"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": "5"}, "timeout must be a number of seconds > 0, got '5'"),
        ({"timeout": True}, "timeout must be"),
        ({"deadline": [1]}, "deadline must be"),
        ({"deadline": float("inf")}, "deadline"),
        ({"image_format": "gif"}, "image_format"),
        ({"image_quality": 101}, "image_quality"),
        ({"key": "two words"}, "REVSEG_SERVER_KEY"),
    ],
)
def test_options_that_are_not_valid(options, words):
    with pytest.raises(ValueError, match=words):
        ServerReasoner.connect("http://localhost:1/v1", "revseg-nano", **options)
    with pytest.raises(ValueError, match="retries"):
        Backoff(retries=-1)


def test_structured_output_of_an_unknown_server():
    with FakeServer(echo, owner="someone") as server, pytest.raises(ValueError, match="neither"):
        ServerReasoner.connect(server.url, "revseg-nano", structured=True)


def test_the_key_goes_to_the_server_and_nowhere_else(monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    for name in ("openai", "httpx", "httpx2", "httpcore", "httpcore2", "asyncio"):
        caplog.set_level(logging.DEBUG, name)
    monkeypatch.setenv("REVSEG_SERVER_KEY", f"{SECRET}\n")
    fault = lambda number, body: status(500, f"key {SECRET} crashed")  # noqa: E731
    with FakeServer(echo, key=SECRET, fault=fault) as server:
        reasoner = ServerReasoner.connect(server.url, "revseg-nano", SPEC, backoff=QUICK)
        (error,) = reasoner.generate([Conversation().say("user", "hello")], SPEC)
        assert server.headers[0]["authorization"] == f"Bearer {SECRET}"
        assert "key *** crashed" in str(error)
        assert SECRET not in repr(reasoner) + repr(error) + str(reasoner.settings)
        stored = pickle.dumps(reasoner)
        assert SECRET.encode() not in stored
        # In another process that has the key, it works on
        server.fault = None
        other = pickle.loads(stored)
        assert other.generate([Conversation().say("user", "hi")], SPEC)[0].text == "you said hi"
        other.close()
        reasoner.close()
    assert SECRET not in caplog.text


def test_a_wrong_key_and_none_are_told_apart(monkeypatch):
    monkeypatch.delenv("REVSEG_SERVER_KEY", raising=False)
    with FakeServer(echo, key="right") as server:
        with pytest.raises(ValueError, match=r"asks for a key .401.: put it into REVSEG"):
            ServerReasoner.connect(server.url, "revseg-nano", SPEC)
        with pytest.raises(ValueError, match="does not accept the key") as caught:
            ServerReasoner.connect(server.url, "revseg-nano", SPEC, key=SECRET)
        assert SECRET not in str(caught.value)


def test_nothing_that_belongs_to_another_service_is_sent(monkeypatch):
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "WEBHOOK_SECRET"):
        monkeypatch.setenv(f"OPENAI_{name}", SECRET)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    with FakeServer(echo) as server:
        (reply,) = ask(server, "hello")
    assert reply.text == "you said hello"
    assert SECRET not in str(server.headers)
