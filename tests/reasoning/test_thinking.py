"""Models that think before they answer: whether they do, and what an unfinished thought is."""

from dataclasses import replace

import pytest
from fake_server import FakeServer, Fault, status
from random_weights import save_random_checkpoint

from fiftyone_revseg.reasoning import ChainSpec, Conversation, LocalReasoner, Reply, run_chain
from fiftyone_revseg.reasoning.server import ServerReasoner
from fiftyone_revseg.reasoning.trajectory import Trajectory
from fiftyone_revseg.types import Status

SPEC = ChainSpec(frames=4, frame_size=28, key_frame_size=56, max_new_tokens=64)
DRAFT = '<think>\nIt may be [{"frame_idx": 0, "object description": "..."}], or'
CHOICE = '<answer>[{"frame_idx": 1, "object description": "a dog"}]</answer>'
BOX = '[{"bbox_2d": [7, 14, 28, 42]}]'


class Thinker:
    """Thinks longer than it may, unless it is told not to think."""

    name = "thinker"

    def __init__(self, turns=(1, 2), obeys=True, **settings):
        self.spec = SPEC.replace(**settings)
        self.turns, self.obeys = turns, obeys
        self.asked = []

    def generate(self, conversations, spec):
        return [self.reply(conversation) for conversation in conversations]

    def reply(self, conversation):
        texts = [m.text for m in conversation.messages if m.role == "user"]
        turn = 1 if len([text for text in texts if "[image]" in text]) == 1 else 2
        self.asked.append((turn, conversation.thinking, len(conversation.messages)))
        if turn in self.turns and not (self.obeys and conversation.thinking is False):
            return Reply(DRAFT, tokens=64, cut=True)
        return Reply(CHOICE if turn == 1 else BOX, tokens=9)


def test_a_turn_whose_thought_was_cut_off_is_asked_again_without_thinking(request_for):
    reasoner = Thinker()
    (trajectory,) = run_chain(reasoner, reasoner.spec, [request_for()])
    assert trajectory.status is Status.OK
    assert [c.description for c in trajectory.choices] == ["a dog"]
    # The same question, without the half of a thought in it
    assert reasoner.asked == [(1, None, 1), (1, False, 1), (2, None, 3), (2, False, 3)]
    first, again, *_ = trajectory.turns
    assert first.reply == DRAFT
    assert "asked again without thinking" in first.error
    assert "allow more with thinking_tokens" in first.error
    assert again.error is None
    assert again.prompt == first.prompt


def test_a_thought_that_never_ends_is_no_answer(request_for):
    reasoner = Thinker(obeys=False)
    (trajectory,) = run_chain(reasoner, reasoner.spec, [request_for()])
    assert trajectory.status is Status.BAD_KEYFRAME
    assert not trajectory.choices
    assert len(trajectory.turns) == 2
    assert "the thought was never finished" in trajectory.reason
    assert "asked again" not in trajectory.reason


HALF = 'Frame 0 shows a cat: [{"frame_idx": 0, "object description": "a cat"}] is a draft. Let me'


@pytest.mark.parametrize(
    ("text", "thinking", "again"),
    [
        (HALF, None, True),
        (HALF, "low", True),
        ("I am to answer in <answer> tags. So let me", True, True),
        (HALF, False, False),
        ('[{"frame_idx": 0, "object desc', None, False),
        ('<answer>[{"frame_idx": 0, "object desc', None, False),
        ('Hm.</think><answer>[{"frame_idx": 0, "object desc', None, False),
    ],
)
def test_a_thought_that_no_tag_tells_from_an_answer(request_for, text, thinking, again):
    """Where the template opens the thought, a server without a parser sends none of its tags."""

    class Plain(Thinker):
        def reply(self, conversation):
            reply = super().reply(conversation)
            return replace(reply, text=text) if reply.cut else reply

    reasoner = Plain(turns=(1,), thinking=thinking, obeys=thinking is not False)
    (trajectory,) = run_chain(reasoner, reasoner.spec, [request_for()])
    assert reasoner.asked[1][:2] == (1, False if again else thinking)
    assert trajectory.status is (Status.OK if again else Status.BAD_KEYFRAME)
    error = trajectory.turns[0].error
    assert ("asked again without thinking" in error) == again
    assert "allow more with max_new_tokens" in error
    assert ("or thinking_tokens" in error) == again


@pytest.mark.parametrize("thinking", [None, True, False, "low"])
def test_the_setting_reaches_both_turns(request_for, thinking):
    reasoner = Thinker(turns=(), thinking=thinking)
    (trajectory,) = run_chain(reasoner, reasoner.spec, [request_for()])
    assert [asked[:2] for asked in reasoner.asked] == [(1, thinking), (2, thinking)]
    assert Trajectory.from_dict(trajectory.to_dict()).spec.thinking == thinking


def test_settings_that_nobody_changed_are_stored_as_before_there_were_any():
    assert "thinking" not in SPEC.to_dict()
    changed = SPEC.replace(thinking=False, thinking_tokens=10)
    assert ChainSpec.from_dict(changed.to_dict()) == changed
    for wrong in (0, 1, "very hard", "", "é", [True]):
        with pytest.raises(ValueError, match="thinking must be true, false, or an effort"):
            ChainSpec(thinking=wrong)
    with pytest.raises(ValueError, match="thinking_tokens must be a whole number >= 0"):
        ChainSpec(thinking_tokens=-1)


TEMPLATE = (
    "{% if add_generation_prompt %}{% if enable_thinking is defined and not enable_thinking %}"
    "<think>\n\n</think>\n\n{% else %}"
    "{% if reasoning_effort is defined %}({{ reasoning_effort }}){% endif %}<think>\n"
    "{% endif %}{% endif %}"
)


def test_chat_templates_are_told(tmp_path):
    thinker = save_random_checkpoint(tmp_path / "thinker", "tiny-qwen3-vl")
    template = LocalReasoner.load(thinker, device="cpu").processor.chat_template
    (thinker / "chat_template.jinja").write_text(template + TEMPLATE)
    spec = {"max_new_tokens": 5, "thinking_tokens": 7}
    reasoner = LocalReasoner.load(thinker, device="cpu", spec=spec)
    asked = {t: Conversation(thinking=t).say("user", "a cat?") for t in (None, True, False, "low")}
    ends = {thinking: reasoner.render(c)[-30:] for thinking, c in asked.items()}
    assert ends[None].endswith("<think>\n")
    assert ends[True] == ends[None]
    assert ends["low"].endswith("(low)<think>\n")
    assert ends[False].endswith("<think>\n\n</think>\n\n")
    for thinking in (None, "low", False):
        (reply,) = reasoner.generate([asked[thinking]], reasoner.spec)
        assert (reply.tokens > 5) == (thinking is not False)
        assert reply.text.startswith("<think>") == (thinking is not False)


def echo(conversation, body):
    return Reply("fine", tokens=1)


def ask(server, *thinkings, **settings):
    spec = SPEC.replace(thinking_tokens=100)
    reasoner = ServerReasoner.connect(server.url, "revseg-nano", spec, **settings)
    for thinking in thinkings:
        asked = Conversation(thinking=thinking).say("user", "hello").expect("[ab]+")
        (reply,) = reasoner.generate([asked], spec)
        assert isinstance(reply, Reply), reply
    reasoner.close()
    return reply


@pytest.mark.parametrize("owner", ["vllm", "llamacpp", "transformers", "someone"])
def test_servers_are_told_in_their_own_way(owner):
    with FakeServer(echo, owner=owner) as server:
        ask(server, None, True, False, "low", structured=False)
    told = [
        (body.get("chat_template_kwargs"), body.get("reasoning_effort")) for body in server.bodies
    ]
    kwargs = [
        None,
        {"enable_thinking": True},
        {"enable_thinking": False},
        {"enable_thinking": True, "reasoning_effort": "low"},
    ]
    if owner == "someone":
        assert told == [(None, effort) for effort in (None, None, "none", "low")]
    else:
        assert told == [(one, None) for one in kwargs]
    assert [body["max_tokens"] for body in server.bodies] == [164, 164, 64, 164]


def test_what_a_server_refuses_is_left_out_from_then_on(caplog):
    def fault(number, body):
        return status(400, "unknown field") if "reasoning_effort" in body else None

    def echo(conversation, body):
        return Reply("fine", ("fine",), (0.5,), tokens=1)

    with FakeServer(echo, owner="someone", fault=fault) as server:
        assert ask(server, False, False).token_probabilities  # which were not given up with it
    bodies = [body for body in server.bodies if "hello" in str(body["messages"])]
    assert ["reasoning_effort" in body for body in bodies] == [True, False, False]
    # The first was refused; then there has to be room for the thought
    assert [body["max_tokens"] for body in bodies] == [64, 164, 164]
    assert caplog.text.count("lets nobody choose whether its model thinks") == 1


def test_a_host_that_always_thinks_is_still_told_how_hard():
    def fault(number, body):
        refused = body.get("reasoning_effort") == "none"
        return status(400, "this model only works in thinking mode") if refused else None

    with FakeServer(echo, owner="google", fault=fault) as server:
        ask(server, False, "low", None)
    bodies = [body for body in server.bodies if "hello" in str(body["messages"])]
    told = [(body.get("reasoning_effort"), body["max_tokens"]) for body in bodies]
    assert told == [("none", 64), (None, 164), ("low", 164), (None, 164)]


def test_structure_is_given_up_where_thoughts_are_taken_apart(caplog):
    """With a reasoning parser, a grammar starts behind the thought, and a second one is written."""

    def fault(number, body):
        if "structured_outputs" not in body:
            return None
        message = {"role": "assistant", "content": "<think>again</think>aa", "reasoning": "once"}
        return Fault("body", 200, {"choices": [{"message": message, "finish_reason": "stop"}]})

    with FakeServer(echo, fault=fault) as server:
        reply = ask(server, None, None)
    assert reply.text == "fine"
    assert ["structured_outputs" in body for body in server.bodies] == [True, False, False]
    assert caplog.text.count("takes thoughts apart from answers") == 1


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        ("vllm", {"repetition_penalty": 1.0, "top_k": -1}),
        ("llamacpp", {"repeat_penalty": 1.0, "frequency_penalty": 0.0, "top_logprobs": 1}),
        ("someone", {"frequency_penalty": 0.0}),
    ],
)
def test_penalties_of_a_checkpoint_are_switched_off(owner, expected):
    """A repetition penalty distorts coordinates; servers apply that of the generation config."""
    with FakeServer(echo, owner=owner) as server:
        ask(server, None, structured=False)
    (body,) = server.bodies
    names = ("repetition_penalty", "top_k", "repeat_penalty", "frequency_penalty", "top_logprobs")
    assert {name: body[name] for name in names if name in body} == expected


def test_a_server_that_leaves_probabilities_out_without_a_word_is_noticed(caplog):
    """As transformers serve 5.24 does."""
    with FakeServer(echo, owner="someone") as server:
        ask(server, None, None)
    assert ["logprobs" in body for body in server.bodies] == [True, False]
    assert caplog.text.count("gives no probabilities") == 1
