import re

import numpy as np
import pytest

from fiftyone_revseg.masks.mask_track import MaskTrack
from fiftyone_revseg.masks.rle import encode_masks
from fiftyone_revseg.models.batch_size import BatchSize
from fiftyone_revseg.reasoning import ChainSpec, Reply
from fiftyone_revseg.reasoning.backend import Conversation, Image
from fiftyone_revseg.reasoning.object_facts import choose_frames, facts_of
from fiftyone_revseg.reasoning.outlines import outline, shown_mask
from fiftyone_revseg.reasoning.rolling import ask
from fiftyone_revseg.reasoning.verdict import ask_again, show, verdict_dialogue
from fiftyone_revseg.types import FrameTable

WIDTH, HEIGHT, FRAMES = 80, 40, 21
TABLE = FrameTable((0, 5, 10, 15, 20), (0.0, 0.5, 1.0, 1.5, 2.0), FRAMES, 2.1)


def track_of(boxes):
    """A track from a function that gives the box of a frame, or None."""
    masks = np.zeros((FRAMES, HEIGHT, WIDTH), bool)
    for k in range(FRAMES):
        if (box := boxes(k)) is not None:
            x1, y1, x2, y2 = box
            masks[k, y1:y2, x1:x2] = True
    return MaskTrack(0, FRAMES, (WIDTH, HEIGHT), tuple(encode_masks(masks)), (1.0,) * FRAMES)


def measured(boxes, **more):
    return facts_of(1, "red car", track_of(boxes), TABLE, TABLE.indices, **more)


STILL = track_of(lambda k: (20, 10, 30, 20))


# outlines


def test_only_contour_and_number_are_drawn():
    picture = np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)
    mask = np.zeros((96, 96), bool)
    mask[40:60, 30:60] = True
    kept = picture.copy()
    drawn = outline(picture, [mask], [1])
    assert (picture == kept).all()
    changed = (drawn != picture).any(axis=2)
    assert not changed[41:59, 31:59].any()  # what the object looks like
    assert changed[40, 30:60].all()
    assert changed[~mask].sum() < 0.02 * mask.size
    assert len({tuple(c) for c in drawn[40, 30:60]}) == 1


def test_numbers_differ_in_colour_and_shape():
    mask = np.zeros((448, 448), bool)
    mask[200:260, 200:260] = True
    grey = np.full((448, 448, 3), 128, np.uint8)
    drawn = [outline(grey, [mask], [n]) for n in range(1, 21)]
    plates = [(one == 0).all(axis=2).tobytes() for one in drawn]
    assert len(set(plates)) == 20
    assert (drawn[0][200, 230] != drawn[1][200, 230]).any()


@pytest.mark.parametrize("size", [4, 14, 96])
def test_numbers_stay_in_the_picture_and_off_other_objects(size):
    picture = np.full((size, size, 3), 128, np.uint8)
    everywhere = np.ones((size, size), bool)
    corner = np.zeros((size, size), bool)
    corner[-1, -1] = True
    drawn = outline(picture, [everywhere, corner, None, ~everywhere], [1, 2, 3, 4])
    assert drawn.shape == picture.shape
    assert (drawn != picture).any()
    if size == 96:
        apart = np.zeros((2, size, size), bool)
        apart[0, 40:50, 40:50] = True
        apart[1, 20:40, 30:60] = True  # above it, where its number would be
        drawn = outline(picture, list(apart), [1, 2])
        assert (drawn[21:39, 31:59] == 128).all()


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"mask of shape \(4, 4\)"):
        outline(np.zeros((8, 8, 3), np.uint8), [np.ones((4, 4), bool)], [1])
    with pytest.raises(ValueError, match="1 masks, but 2 numbers"):
        outline(np.zeros((8, 8, 3), np.uint8), [None], [1, 2])


def test_small_objects_do_not_vanish_when_masks_shrink():
    mask = np.zeros((720, 1280), bool)
    assert not shown_mask(mask, 96).any()
    mask[100, 200] = True
    assert shown_mask(mask, 96).sum() == 1
    mask[:, 640:] = True
    assert (shown_mask(mask, 96) == (np.arange(96) >= 48)).all()


# facts


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        (lambda k: (10, 10, 20, 20), "stands still"),
        (lambda k: (10 + 2 * k, 10, 20 + 2 * k, 20), "moves right"),
        (lambda k: (60 - 2 * k, 30 - k, 70 - 2 * k, 40 - k), "moves up and left"),
        (lambda k: (10, 2 + k, 20, 12 + k), "moves down"),
        (lambda k: (10 + 4 * max(k - 10, 0), 9, 20 + 4 * max(k - 10, 0), 19), "stands still, then"),
        (lambda k: (50 - 4 * min(k, 10), 9, 60 - 4 * min(k, 10), 19), "then stands still"),
        (lambda k: (10 + 3 * abs(k - 10), 9, 20 + 3 * abs(k - 10), 19), "moves to and fro"),
        (lambda k: (10, 10, 20, 20) if k == 4 else None, "stands still"),
    ],
)
def test_how_it_moves(boxes, words):
    assert words in measured(boxes).motion


def test_when_it_is_there_and_how_large():
    facts = measured(
        lambda k: (8, 8, 16 + 2 * (k - 6), 16 + (k - 6)) if 6 <= k <= 14 and k != 10 else None,
        votes=3,
        candidates=5,
    )
    words = facts.words()
    assert facts.shown == ()  # 10 is the only picture between, and there it is gone
    assert (facts.gaps, facts.growth) == (1, "grows")
    assert words["life"] == "comes at 30 and goes at 70"
    assert (words["first_time"], words["last_time"]) == ("0.6", "1.4")
    assert (words["first"], words["named"]) == ("-", "named by 3 of 5")
    assert (words["first_x"], words["first_y"]) == (15, 30)
    assert (words["first_size"], words["last_size"]) == (2, 12)
    always = measured(lambda k: (20, 10, 30, 20)).words()
    assert (always["life"], always["growth"]) == ("is always there", "keeps its size")
    assert (always["first"], always["last"], always["size"]) == (0, 4, 24)
    assert always["named"] == ""


def test_a_track_without_any_mask_cannot_be_judged():
    with pytest.raises(ValueError, match="object 1 is not visible"):
        measured(lambda k: None)


# frames


def test_frames_are_those_of_turn_1_where_they_show_what_matters():
    assert choose_frames([STILL], TABLE, 5) == TABLE.indices
    assert choose_frames([STILL], TABLE, 9) == TABLE.indices
    assert choose_frames([STILL], TABLE, 3) == (0, 10, 20)
    assert choose_frames([STILL], TABLE, 1) == (0,)


def test_frames_show_every_track_and_where_it_was_lost():
    brief = track_of(lambda k: (5, 5, 9, 9) if k in (7, 8) else None)
    assert set(choose_frames([STILL, brief], TABLE, 5)) & {7, 8}
    assert choose_frames([brief], TABLE, 1) == (7,)
    lost = track_of(lambda k: None if 11 <= k <= 13 else (20, 10, 30, 20))
    frames = choose_frames([lost], TABLE, 5)
    assert 12 in frames
    assert len(frames) == 5


def test_no_frames_to_choose():
    assert choose_frames([STILL], TABLE, 0) == ()
    with pytest.raises(ValueError, match="cannot choose"):
        choose_frames([STILL], TABLE, -1)


# dialogues


def shown_of(tracks, size=96):
    frames = choose_frames(tracks, TABLE, 4)
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    masks = [[track.mask(k) for track in tracks] for k in frames]
    return [show(k, k / 10, image, m, size) for k, m in zip(frames, masks, strict=True)]


def dialogue_of(spec=None, query="the red car", names=("red car", "blue car")):
    tracks = [STILL, track_of(lambda k: (2 * k, 25, 2 * k + 10, 35))][: len(names)]
    shown = shown_of(tracks)
    facts = [
        facts_of(n, name, track, TABLE, [one.frame for one in shown])
        for n, (name, track) in enumerate(zip(names, tracks, strict=True), 1)
    ]
    return verdict_dialogue(query, spec or ChainSpec(frame_size=96), shown, facts)


def test_what_is_asked():
    asked = dialogue_of().conversation
    (message,) = asked.messages
    pictures = [part.pixels for part in message.content if isinstance(part, Image)]
    assert [p.shape for p in pictures] == [(96, 96, 3)] * 4
    assert all((p != 90).any() for p in pictures)
    for part in ("numbered 0 to 3", 'Object 2 ("blue car")', "moves right", 'Request: "the red ca'):
        assert part in message.text
    assert "{frames}" not in message.text
    assert re.fullmatch(asked.pattern, '{"objects": [1, 2], "wrong_frames": [3], "why": "it is"}')
    assert re.fullmatch(asked.pattern, '<think>so</think> <answer> {"objects": []} </answer>')
    assert not re.fullmatch(asked.pattern, '{"objects": [3]}')
    assert not re.fullmatch(asked.pattern, '{"objects": [1], "wrong_frames": [4]}')


def test_a_checkpoints_own_words():
    prompts = {"turn3": "{frames}{objects} Which is {query}", "object": "{number} {motion};"}
    asked = dialogue_of(ChainSpec(frame_size=96, prompts=prompts)).conversation
    assert asked.messages[0].text.endswith("1 stands still;\n2 moves right; Which is the red car")
    assert asked.pattern is None


def test_by_words_alone():
    prompts = {"turn3": "{frames}{objects} Which is {query}", "object": "{number} {motion};"}
    spec = ChainSpec(verdict_frames=0, prompts=prompts)
    dialogue = verdict_dialogue("the car", spec, [], [measured(lambda k: (1, 1, 5, 5))])
    (message,) = dialogue.conversation.messages
    assert not [part for part in message.content if isinstance(part, Image)]
    assert message.text.endswith("1 stands still; Which is the car")
    dialogue.take(reply_of('{"objects": [1], "wrong_frames": [0]}'), retries=1)
    assert dialogue.result is None
    dialogue.take(reply_of("[1]"), retries=1)
    assert (dialogue.result.objects, dialogue.result.shown) == ((1,), ())
    with pytest.raises(ValueError, match="words alone"):
        ChainSpec(verdict_frames=0)


def test_what_users_and_models_write_is_no_control_token():
    asked = dialogue_of(query="<|im_end|>", names=("<|im_start|>",))
    assert "<|" not in asked.conversation.messages[0].text


def reply_of(text, probability=0.9):
    return Reply(text, tuple(text), (probability,) * len(text), tokens=len(text))


def test_the_verdict_and_its_probability():
    dialogue = dialogue_of()
    dialogue.take(reply_of('{"objects": [2], "wrong_frames": [1]}'), retries=1)
    verdict = dialogue.result
    assert (verdict.objects, verdict.wrong_frames, verdict.count) == ((2,), (1,), 2)
    assert verdict.shown == tuple(TABLE.indices[i] for i in (0, 1, 3, 4))
    assert verdict.probability == pytest.approx(0.9**3)
    assert [turn.turn for turn in dialogue.turns] == [3]


def test_without_probabilities_the_verdict_has_none():
    dialogue = dialogue_of()
    dialogue.take(Reply('{"objects": []}'), retries=1)
    assert (dialogue.result.objects, dialogue.result.probability) == ((), None)


def test_a_verdict_that_cannot_be_read_is_asked_for_again_and_then_given_up():
    dialogue = dialogue_of()
    dialogue.take(reply_of('{"objects": [7]}'), retries=1)
    assert "object 7 does not exist" in dialogue.pending.messages[-1].text
    assert "from 1 to 2 and picture numbers from 0 to 3" in dialogue.pending.messages[-1].text
    dialogue.take(reply_of("I do not know"), retries=1)
    assert dialogue.pending is None
    assert dialogue.result is None
    assert dialogue.error


def test_nothing_to_judge():
    facts = measured(lambda k: (1, 1, 5, 5))
    shown = shown_of([STILL])
    with pytest.raises(ValueError, match="nothing to judge"):
        verdict_dialogue("a", ChainSpec(), shown, [])
    with pytest.raises(ValueError, match="numbered 1, 2"):
        verdict_dialogue("a", ChainSpec(), shown, [facts, facts])


def test_turn_1_is_asked_again_with_the_rejected_named(scripted):
    spec = ChainSpec()
    history = Conversation().say("user", "which?").say("assistant", "the blue one")
    dialogue = ask_again("the <|red car", spec, history, 16, ["blue car", "blue car", "van"], "no")
    text = dialogue.conversation.messages[-1].text
    assert "means: blue car, van. no" in text
    assert "the < |red car" in text
    assert "from 0 to 15" in text
    script = iter(["[", '<answer>[{"frame_idx": 15, "object description": "red"}]</answer>'])
    reasoner = scripted(lambda c: next(script))
    for _ in range(2):
        ask(reasoner, spec, [dialogue], BatchSize("reasoning", 1))
    assert [(c.frame, c.description) for c in dialogue.result] == [(15, "red")]
    assert len(dialogue.history.messages) == 4
    assert re.search(dialogue.conversation.pattern, "<think></think><answer>[]</answer>")
