import json

import numpy as np
import pytest

from fiftyone_revseg.reasoning import (
    ChainSpec,
    Conversation,
    Image,
    KeyframeChoice,
    Reply,
    Trajectory,
    VideoFrames,
    run_chain,
)
from fiftyone_revseg.reasoning.resize import resize_square
from fiftyone_revseg.types import Status

SPEC = ChainSpec(frames=4, frame_size=28, key_frame_size=56)


def answer(*objects, think="I think"):
    items = [{"frame_idx": k, "object description": text} for k, text in objects]
    return f"<think>{think}</think> <answer>{json.dumps(items)}</answer>"


def box(*corners):
    return json.dumps([{"bbox_2d": corners, "label": "x"}])


def turn_of(conversation):
    """2 if the dialogue has come to the key frame, which is larger than the others."""
    images = [p for m in conversation.messages for p in m.content if isinstance(p, Image)]
    return 2 if images and images[-1].pixels.shape[0] == SPEC.key_frame_size else 1


def good(conversation):
    if turn_of(conversation) == 1:
        return answer((2, "a red disc"))
    return box(14, 14, 28, 56)


def test_a_query_becomes_a_box_in_source_pixels(scripted, request_for):
    reasoner = scripted(good)
    (trajectory,) = run_chain(reasoner, SPEC, [request_for(size=(80, 40))])
    assert trajectory.status is Status.OK
    assert trajectory.reason == ""
    assert trajectory.think == "I think"
    assert trajectory.choices == (KeyframeChoice(2, "a red disc"),)
    assert trajectory.key_frames == (20,)
    assert trajectory.groundings[0].box_xyxy_px == (20, 10, 40, 40)
    assert trajectory.groundings[0].confidence == 0.5
    assert trajectory.model == "scripted"
    assert [t.reply for t in trajectory.turns] == [answer((2, "a red disc")), box(14, 14, 28, 56)]
    assert "the red circle" in trajectory.turns[0].prompt
    assert "a red disc" in trajectory.turns[1].prompt
    assert (trajectory.tokens, trajectory.seconds, trajectory.attempts) == (6, 0.5, 2)
    assert Trajectory.from_json(trajectory.to_json()) == trajectory


@pytest.mark.parametrize(
    ("convention", "corners"),
    [("pixels", (14, 14, 28, 56)), ("relative-1000", (250, 250, 500, 1000))],
)
def test_both_box_conventions(scripted, request_for, convention, corners):
    reasoner = scripted(lambda c: good(c) if turn_of(c) == 1 else box(*corners))
    spec = SPEC.replace(box_convention=convention)
    (trajectory,) = run_chain(reasoner, spec, [request_for(size=(80, 40))])
    assert trajectory.groundings[0].box_xyxy_px == (20, 10, 40, 40)
    said = trajectory.turns[1].prompt
    assert ("pixels of this image, which is 56 wide" in said) == (convention == "pixels")
    assert ("from 0 to 1000" in said) == (convention == "relative-1000")


def test_turn_one_shows_every_frame_behind_its_index_and_time(scripted, request_for):
    reasoner = scripted(good)
    request = request_for()
    run_chain(reasoner, SPEC, [request])
    (message,) = reasoner.batches[0][0].messages
    content = message.content
    for index in range(4):
        assert content[2 * index] == f"Frame {index} ({index}.0 s): "
        shown = content[2 * index + 1].pixels
        assert np.array_equal(shown, resize_square(request.images[index], 28))
    assert "numbered 0 to 3" in content[-1]
    assert "lasts 4.0 seconds" in content[-1]


def test_turn_two_goes_on_from_the_whole_of_turn_one(scripted, request_for):
    reasoner = scripted(good)
    run_chain(reasoner, SPEC, [request_for()])
    first, second = reasoner.batches[0][0], reasoner.batches[1][0]
    assert second.messages[:1] == first.messages
    assert second.messages[1].role == "assistant"
    assert second.messages[1].text == answer((2, "a red disc"))
    (image,) = [part for part in second.messages[2].content if isinstance(part, Image)]
    assert image.pixels.shape == (56, 56, 3)
    assert (image.pixels[..., 0] == 20).all()  # sampled frame 2 is source frame 20


def test_video_encoding_shows_one_video(scripted, request_for):
    reasoner = scripted(good)
    run_chain(reasoner, SPEC.replace(frame_encoding="video"), [request_for()])
    video, text = reasoner.batches[0][0].messages[0].content
    assert isinstance(video, VideoFrames)
    assert [int(frame[0, 0, 0]) for frame in video.frames] == [0, 10, 20, 30]
    assert video.fps == 1.0
    assert "the red circle" in text


def test_every_object_of_every_request_gets_a_turn_of_its_own(scripted, request_for):
    def script(conversation):
        if turn_of(conversation) == 1:
            found = [(0, "left"), (3, "right")] if '"two"' in conversation.messages[0].text else []
            return answer(*found, (1, "middle"))
        last = conversation.messages[-1].text
        return box(0, 0, 14, 14) if '"left"' in last else box(28, 28, 56, 56)

    reasoner = scripted(script)
    two, one = run_chain(reasoner, SPEC, [request_for("two"), request_for("one")])
    assert [len(batch) for batch in reasoner.batches] == [2, 4]
    assert [c.description for c in two.choices] == ["left", "right", "middle"]
    assert [g.box_xyxy_px[0] for g in two.groundings] == [0, 40, 40]
    assert [t.object for t in two.turns] == [None, 0, 1, 2]
    assert len(one.groundings) == 1
    for conversation in reasoner.batches[1]:  # a branch knows nothing of the other objects' turns
        assert [m.role for m in conversation.messages] == ["user", "assistant", "user"]


def test_batches_are_no_larger_than_asked(scripted, request_for):
    reasoner = scripted(good)
    trajectories = run_chain(
        reasoner, SPEC, [request_for(f"query {i}") for i in range(5)], batch_size=2
    )
    assert [len(batch) for batch in reasoner.batches] == [2, 2, 2, 2, 1, 1]
    assert [t.query for t in trajectories] == [f"query {i}" for i in range(5)]


def test_no_target(scripted, request_for):
    reasoner = scripted(lambda c: answer(think="none of them"))
    (trajectory,) = run_chain(reasoner, SPEC, [request_for()])
    assert trajectory.status is Status.NO_TARGET
    assert trajectory.reason
    assert trajectory.think == "none of them"
    assert trajectory.choices == ()
    assert reasoner.asked == 1


def test_a_bad_reply_is_corrected_and_asked_again(scripted, request_for):
    def script(conversation):
        again = conversation.messages[-1].text.startswith("That reply could not be used")
        if turn_of(conversation) == 1:
            return answer((2, "a red disc")) if again else answer((4, "a red disc"))
        return box(14, 14, 28, 56) if again else "it is to the left"

    reasoner = scripted(script)
    (trajectory,) = run_chain(reasoner, SPEC, [request_for()])
    assert trajectory.status is Status.OK
    assert [(t.turn, t.attempt, t.error is None) for t in trajectory.turns] == [
        (1, 0, False),
        (1, 1, True),
        (2, 0, False),
        (2, 1, True),
    ]
    assert "frame_idx 4 does not exist, the frames are 0 to 3" in trajectory.turns[1].prompt
    retried = reasoner.batches[1][0]
    assert [m.role for m in retried.messages] == ["user", "assistant", "user"]
    turn2 = reasoner.batches[2][0]  # goes on as if the good reply had been the first
    assert [m.role for m in turn2.messages] == ["user", "assistant", "user"]
    assert turn2.messages[1].text == answer((2, "a red disc"))


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_bad_keyframe_is_recorded_when_retries_run_out(scripted, request_for, retries):
    reasoner = scripted(lambda c: "<think>hm</think> frame two, I guess")
    (trajectory,) = run_chain(reasoner, SPEC.replace(retries=retries), [request_for()])
    assert trajectory.status is Status.BAD_KEYFRAME
    assert trajectory.reason.startswith("turn 1: it has no JSON list")
    assert trajectory.attempts == reasoner.asked == retries + 1
    assert [t.attempt for t in trajectory.turns] == list(range(retries + 1))
    assert trajectory.think == "hm"
    assert trajectory.choices == ()


@pytest.mark.parametrize("reply", ["no idea", "[]", box(9, 9, 9, 9)])
def test_bad_box_is_recorded_when_retries_run_out(scripted, request_for, reply):
    reasoner = scripted(lambda c: good(c) if turn_of(c) == 1 else reply)
    (trajectory,) = run_chain(reasoner, SPEC, [request_for()])
    assert trajectory.status is Status.BAD_BOX
    assert trajectory.reason.startswith("turn 2, object 1: ")
    assert trajectory.choices == (KeyframeChoice(2, "a red disc"),)
    assert trajectory.groundings == (None,)
    assert trajectory.attempts == 3


def test_some_boxes_are_better_than_none(scripted, request_for):
    def script(conversation):
        if turn_of(conversation) == 1:
            return answer((0, "left"), (1, "right"))
        return "?" if '"left"' in conversation.messages[2].text else box(0, 0, 56, 56)

    (trajectory,) = run_chain(scripted(script), SPEC, [request_for()])
    assert trajectory.status is Status.OK
    assert trajectory.reason.startswith("turn 2, object 1: ")
    assert trajectory.groundings[0] is None
    assert trajectory.groundings[1].box_xyxy_px == (0, 0, 80, 40)


@pytest.mark.parametrize("turn", [1, 2])
def test_one_failing_conversation_does_not_take_the_others_along(scripted, request_for, turn):
    def script(conversation):
        if turn_of(conversation) == turn and "poison" in conversation.messages[0].text:
            return RuntimeError("CUDA\n out of memory")
        return good(conversation)

    reasoner = scripted(script)
    requests = [request_for(q) for q in ("a", "poison", "b")]
    trajectories = run_chain(reasoner, SPEC, requests)
    assert [t.status for t in trajectories] == [Status.OK, Status.ERROR, Status.OK]
    assert "RuntimeError: CUDA out of memory" in trajectories[1].reason
    assert len(trajectories[1].turns) == turn - 1


def test_a_batch_that_does_not_fit_into_memory_is_halved(scripted, request_for, caplog):
    import torch

    class Small(scripted):
        def generate(self, conversations, spec):
            if len(conversations) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().generate(conversations, spec)

    reasoner = Small(good)
    trajectories = run_chain(reasoner, SPEC, [request_for(f"query {i}") for i in range(8)])
    assert {t.status for t in trajectories} == {Status.OK}
    assert {len(batch) for batch in reasoner.batches} == {2}
    said = [r.getMessage() for r in caplog.records]
    assert said[-1].startswith("Out of memory with 4 in a batch for reasoning: 2 from now on")
    assert len(said) == 2


def test_too_few_replies_are_noticed(scripted, request_for):
    class Forgetful(scripted):
        def generate(self, conversations, spec):
            replies = super().generate(conversations, spec)
            return replies[:1] if len(conversations) > 1 else replies

    trajectories = run_chain(Forgetful(good), SPEC, [request_for("a"), request_for("b")])
    assert [t.status for t in trajectories] == [Status.OK, Status.OK]


def test_a_frame_that_cannot_be_read_is_that_objects_failure(scripted, request_for):
    def read_frame(k):
        if k == 0:
            raise OSError("the file ends before frame 0")
        return np.zeros((40, 80, 3), np.uint8)

    def script(conversation):
        if turn_of(conversation) == 2:
            return box(0, 0, 56, 56)
        found = (
            [(0, "left")]
            if "only one" in conversation.messages[0].text
            else [(0, "left"), (1, "b")]
        )
        return answer(*found)

    one, two = run_chain(
        scripted(script),
        SPEC,
        [
            request_for("only one", read_frame=read_frame),
            request_for("both", read_frame=read_frame),
        ],
    )
    assert one.status is Status.ERROR
    assert one.reason == "turn 2, object 1: OSError: the file ends before frame 0"
    assert two.status is Status.OK
    assert two.groundings[0] is None
    assert two.groundings[1] is not None


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", "The query is empty: say what to look for"),
        ("  \n", "The query is empty: say what to look for"),
        (None, "The query is empty: say what to look for"),
        ("caf\udce9", "The query holds broken characters that are no Unicode text: type it again"),
    ],
)
def test_what_is_no_query_is_an_error_of_its_own(scripted, request_for, query, reason, caplog):
    bad, fine = run_chain(scripted(good), SPEC, [request_for(query), request_for()])
    assert bad.status is Status.ERROR
    assert bad.reason == reason
    assert fine.status is Status.OK
    assert not caplog.records  # it is no bug, so there is nothing to trace


def test_a_video_without_frames_is_an_error(scripted, request_for):
    reasoner = scripted(good)
    (trajectory,) = run_chain(reasoner, SPEC, [request_for(count=0)])
    assert trajectory.status is Status.ERROR
    assert "No frames were sampled" in trajectory.reason
    assert reasoner.asked == 0


def test_nothing_to_do(scripted):
    assert run_chain(scripted(good), SPEC, []) == []


def test_users_and_models_cannot_write_control_tokens(scripted, request_for):
    def script(conversation):
        if turn_of(conversation) == 1:
            return answer((2, "a <|image_pad|> disc"))
        return box(14, 14, 28, 56)

    reasoner = scripted(script)
    (trajectory,) = run_chain(reasoner, SPEC, [request_for("x<|im_end|>y {last_index}")])
    assert trajectory.status is Status.OK
    assert trajectory.query == "x<|im_end|>y {last_index}"
    for batch in reasoner.batches:
        assert not any("<|" in m.text for c in batch for m in c.messages)
    assert "x< |im_end|>y {last_index}" in reasoner.batches[0][0].messages[0].text


def test_short_prompts_of_a_small_model(scripted, request_for):
    spec = SPEC.replace(
        prompts={
            "system": "be brief",
            "turn1": "find {query} in 0-{last_index}:{frames}",
            "frame": "{index}",
            "turn2": "{description}{image}",
        }
    )
    reasoner = scripted(good)
    run_chain(reasoner, spec, [request_for("it")])
    system, user = reasoner.batches[0][0].messages
    assert (system.role, system.text) == ("system", "be brief")
    assert user.text == "find it in 0-3:0[image]1[image]2[image]3[image]"
    assert reasoner.batches[1][0].messages[-1].text == "a red disc[image]"


def test_frames_are_resized_square_by_bicubic():
    from PIL import Image as PILImage

    image = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    expected = PILImage.fromarray(image).resize((28, 28), PILImage.Resampling.BICUBIC)
    assert np.array_equal(resize_square(image, 28), np.asarray(expected))
    with pytest.raises(ValueError, match=r"must be a \(H, W, 3\) uint8 RGB array"):
        resize_square(image.astype(float), 28)


def test_conversations_grow_by_copies():
    start = Conversation().say("user", "", "a")
    longer = start.say("assistant", "b")
    assert [m.text for m in start.messages] == ["a"]
    assert [m.text for m in longer.messages] == ["a", "b"]


class CutOff:
    """Answers ``text`` to everything, and a limit ends it."""

    name = "cut off"
    spec = SPEC.replace(retries=0)

    def __init__(self, text):
        self.text = text

    def generate(self, conversations, spec):
        return [Reply(self.text, tokens=64, cut=True) for _ in conversations]


@pytest.mark.parametrize("begin", ["<think>", ""])
def test_an_unfinished_thought_has_no_answer(begin, request_for):
    draft = '[{"frame_idx": 1, "object description": "a dog"}]'
    reasoner = CutOff(f"{begin}The dog is in frame 1, so I write {draft}. But wait, frame 2 is")
    (trajectory,) = run_chain(reasoner, reasoner.spec, [request_for()])
    assert trajectory.status is Status.BAD_KEYFRAME
    setting = "thinking_tokens" if begin else "max_new_tokens"
    assert f"cut off after 64 tokens: allow more with {setting}" in trajectory.reason


def test_half_a_character_can_be_stored(scripted, request_for):
    def script(conversation):
        if turn_of(conversation) == 2:
            return good(conversation)
        text = r'[{"frame_idx": 2, "object description": "a \udc00 dog\u0000"}]'
        return f"<think>{chr(0xD83D)}</think><answer>{text}</answer>"

    reasoner = scripted(script)
    (trajectory,) = run_chain(reasoner, SPEC, [request_for()])
    assert trajectory.status is Status.OK
    assert trajectory.think == "?"
    assert trajectory.choices[0].description == "a ? dog?"
    assert trajectory.turns[0].reply.startswith("<think>?</think>")
    json.dumps(trajectory.to_dict(), ensure_ascii=False).encode()
    (trajectory,) = run_chain(reasoner, SPEC, [request_for("a \udc80 dog")])
    assert (trajectory.status, trajectory.query) == (Status.ERROR, "a ? dog")
    assert "broken characters" in trajectory.reason


def test_a_reply_too_long_to_be_read_is_not_kept_whole(scripted, request_for):
    reasoner = scripted(lambda conversation: "[" * 3_000_000)
    (trajectory,) = run_chain(reasoner, SPEC, [request_for()])
    assert trajectory.status is Status.BAD_KEYFRAME
    assert "3,000,000 characters" in trajectory.reason
    assert len(trajectory.to_json()) < 100_000
    assert len(reasoner.batches[1][0].messages[-2].text) < 11_000  # what it is asked again after
