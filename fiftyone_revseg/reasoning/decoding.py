"""The replies of a Qwen-VL or GLM-V model, with nothing read twice.

Turn 2 goes on from what turn 1 was read into, the queries about a video from the video's frames,
and the rollouts of a group from their prompt: only what follows is read. The replies are those of
transformers' ``generate``, up to rounding, which cannot put a cache together of dialogues of
different lengths.

Where a model has recurrent layers, as Qwen3.5, a dialogue is read in steps: up to the end of its
pictures, where the queries about a video part, then up to the end of its messages, where the next
turn goes on, then to its end. A state takes in every token that it is shown, so dialogues of
different lengths are padded only where they begin anew, and read in groups where they go on.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from fiftyone_revseg.models.weights import versions_of
from fiftyone_revseg.reasoning.backend import Conversation
from fiftyone_revseg.reasoning.caches import KINDS, Caches, cache_argument, layer_kinds
from fiftyone_revseg.reasoning.kept_prefixes import KeptPrefixes, Prefix, begin_alike, names_of

FAMILIES = (
    *("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe"),
    *("glm4v", "glm46v", "glm4v_moe"),
)
_WORTH_SHARING = 32  # tokens that two dialogues of a batch begin with, to be read once


@dataclass(frozen=True, eq=False)
class Prompt:
    """A dialogue up to a reply.

    Attributes:
        tokens: the dialogue; the model's image token stands for what images give
        images: a name of each image, of 8 bytes or more; equal images have equal names
        patches: the patches of each image, ``(n, d)``, as the model's processor makes them
        grids: ``(images, 3)`` their grids
        temperature (None): of this reply, drawn with chance of its own; by default, as all
        seed (0): of that chance
    """

    tokens: list[int]
    images: Sequence[bytes]
    patches: Sequence[torch.Tensor]
    grids: torch.Tensor
    temperature: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Decoding:
    """How replies are drawn.

    Attributes:
        limit: the most tokens of a reply
        stop: tokens that end a reply
        pad: stands where there is no token
        temperature: logits are divided by it; 0 for the likeliest token
        suppressed: tokens that are never drawn
    """

    limit: int
    stop: tuple[int, ...]
    pad: int
    temperature: float = 0.0
    suppressed: tuple[int, ...] = ()


@dataclass(frozen=True)
class Drawn:
    """A reply.

    Attributes:
        tokens: with the one that ended it
        probabilities: of each token, before the temperature
    """

    tokens: list[int]
    probabilities: list[float]


def can_decode(model: Any) -> bool:
    """Whether a model is of a family, and has a kind of attention, that this is tested with."""
    config = model.config
    text = config.get_text_config()
    return (
        config.model_type in FAMILIES
        and set(layer_kinds(text)) <= KINDS
        and getattr(text, "_attn_implementation", "") in ("sdpa", "eager")
    )


class Decoder:
    """Lets a model reply to dialogues, and keeps what they were read into.

    Args:
        model: a model with a language modelling head, see :func:`can_decode`
        held_bytes: the most memory for what is kept, on the model's device
        looking (None): a function that is given the patches and the names of the images that the
            model is about to look at, and returns a context to do so in

    Attributes:
        read: how many tokens of prompts were read so far
        reused: how many did not have to be
    """

    def __init__(
        self,
        model: Any,
        held_bytes: float,
        looking: Callable[[torch.Tensor, Sequence[bytes]], AbstractContextManager[Any]]
        | None = None,
    ):
        self._model = model
        self._kept = KeptPrefixes(held_bytes)
        self._looking = looking or (lambda patches, names: nullcontext())
        self._image_token = int(model.config.image_token_id)
        self._merged = int(model.config.vision_config.spatial_merge_size) ** 2
        self._caches = Caches(model.config.get_text_config())
        self._cache_argument = cache_argument(model.model)
        self._weights: tuple[int, ...] = ()
        self.read = self.reused = 0

    def forget(self) -> None:
        """Frees the memory of all that is kept."""
        self._kept.forget()

    def reply(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Drawn]:
        """Draws a reply to each of some dialogues.

        Args:
            prompts: the dialogues
            decoding: how replies are drawn

        Returns:
            one reply for each
        """
        # Weights that were trained or loaded since make other keys and values
        weights = versions_of(self._model)
        if weights != self._weights:
            self.forget()
            self._weights = weights
        rows = [self._row(prompt, decoding) for prompt in prompts]
        made = self._read_beginnings(rows, decoding.pad)
        batch = self._read(rows, made, decoding.pad)
        drawn = zip(map(id, batch.rows), self._draw(batch, decoding), strict=True)
        replies = dict(drawn)
        return [replies[id(row)] for row in rows]

    def _row(self, prompt: Prompt, decoding: Decoding) -> _Row:
        sizes = [int(n) // self._merged for n in prompt.grids.prod(dim=1).tolist()]
        names = names_of(prompt.tokens, prompt.images, sizes, self._image_token)
        row = _Row(prompt, names, np.cumsum([0, *sizes]))
        if not self._caches.recurrent:
            return row
        # Behind the last message a template writes other things in a later turn
        ended = np.isin(names[:-1], decoding.stop)
        return replace(row, pictures=_behind_last(names < 0), messages=_behind_last(ended))

    def _read_beginnings(self, rows: Sequence[_Row], pad: int) -> list[Prefix]:
        """Reads what several dialogues begin with, or later ones may, and nothing kept does."""
        made: list[Prefix] = []
        steps = (self._pictures, self._messages) if self._caches.recurrent else (self._shared,)
        for step in steps:
            beginnings = step(rows, made)
            if beginnings:
                batch = self._read(beginnings, made, pad)
                for i, row in enumerate(batch.rows):
                    made.append(self._prefix(batch, i, row.names))
                    self._kept.keep(made[-1])
        return made

    def _find(self, row: _Row, made: Sequence[Prefix]) -> tuple[int, Prefix | None]:
        """Finds what a dialogue can go on from; one token is left to say what follows."""
        best, found = self._kept.find(row.names[:-1])
        for prefix in made:
            known = prefix.known(row.names[:-1])
            if known > best:
                best, found = known, prefix
        return best, found

    def _shared(self, rows: Sequence[_Row], made: Sequence[Prefix]) -> list[_Row]:
        """What several rows begin with."""
        shared: list[_Row] = []
        for i, row in enumerate(rows):
            known, _ = self._find(row, made)
            for found in shared:
                known = max(known, begin_alike(row.names, found.names))
            alike = max((begin_alike(row.names, other.names) for other in rows[:i]), default=0)
            alike = min(alike, len(row.names) - 1)
            if alike >= known + _WORTH_SHARING:
                beginning = row.until(alike)
                shared = [s for s in shared if begin_alike(s.names, beginning.names) < len(s.names)]
                shared.append(beginning)
        return shared

    def _pictures(self, rows: Sequence[_Row], made: Sequence[Prefix]) -> list[_Row]:
        """What rows that begin anew have up to the end of their pictures."""
        new = [r for r in rows if r.pictures >= _WORTH_SHARING and not self._find(r, made)[0]]
        return [*{r.names[: r.pictures].tobytes(): r.until(r.pictures) for r in new}.values()]

    def _messages(self, rows: Sequence[_Row], made: Sequence[Prefix]) -> list[_Row]:
        """What several rows have up to the end of their messages."""
        alike: dict[bytes, list[_Row]] = {}
        for row in rows:
            if row.messages >= self._find(row, made)[0] + _WORTH_SHARING:
                alike.setdefault(row.names[: row.messages].tobytes(), []).append(row)
        return [same[0].until(same[0].messages) for same in alike.values() if len(same) > 1]

    def _read(self, rows: Sequence[_Row], made: Sequence[Prefix], pad: int) -> _Batch:
        """Reads what of rows was not read before; they may come out in another order."""
        groups: dict[Any, list[tuple[_Row, int, Prefix | None]]] = {}
        for row in rows:
            known, prefix = self._find(row, made)
            self.reused += known
            self.read += len(row.names) - known
            groups.setdefault(self._group(row, known), []).append((row, known, prefix))
        parts = [self._read_group(group, pad) for group in groups.values()]
        if len(parts) == 1:
            return parts[0]
        cache, seen = self._caches.joined([p.cache for p in parts], [p.seen for p in parts])
        return _Batch(
            [row for part in parts for row in part.rows],
            cache,
            seen,
            torch.cat([part.last for part in parts]),
            torch.cat([part.following for part in parts]),
        )

    def _group(self, row: _Row, known: int) -> Any:
        """Names what has to be equal to be read together."""
        if not self._caches.recurrent:
            return None
        ends = row.ends_behind(known)
        # Padding in front of nothing leaves a state as it is
        first = ends[0] - known if known else 0
        return first, *(b - a for a, b in itertools.pairwise(ends))

    def _read_group(self, group: Sequence[tuple[_Row, int, Prefix | None]], pad: int) -> _Batch:
        rows, counts, prefixes = map(list, zip(*group, strict=True))
        cache, seen = self._caches.assembled(prefixes, counts, self._model.device)
        steps = [[*ends] for ends in zip(*(r.ends_behind(n) for r, n, _ in group), strict=True)]
        for ends in steps[:-1]:
            batch = self._go_on(rows, cache, seen, counts, ends, pad)
            for i, (row, _, prefix) in enumerate(group):
                self._keep(batch, i, row.names[: ends[i]], prefix)
            seen, counts = batch.seen, ends
        return self._go_on(rows, cache, seen, counts, steps[-1], pad)

    def _go_on(
        self,
        rows: Sequence[_Row],
        cache: Any,
        cached: torch.Tensor,
        counts: Sequence[int],
        ends: Sequence[int],
        pad: int,
    ) -> _Batch:
        """Reads rows up to an end each, on top of the tokens that are in the cache."""
        model, device = self._model, self._model.device
        parts = [row.until(end) for row, end in zip(rows, ends, strict=True)]
        new = [part.since(n) for part, n in zip(parts, counts, strict=True)]
        whole, there = _padded([part.prompt.tokens for part in parts], pad, device)
        tokens, is_new = _padded([prompt.tokens for prompt in new], pad, device)
        seen = torch.cat([cached, is_new], dim=1)
        all_grids = torch.cat([part.prompt.grids for part in parts]).to(device)
        positions, _ = model.model.get_rope_index(
            whole,
            image_grid_thw=all_grids if len(all_grids) else None,
            attention_mask=there,
            mm_token_type_ids=((whole == self._image_token) & there.bool()).int(),
        )
        positions = positions.masked_fill(~there.bool(), 0)
        names = [name for prompt in new for name in prompt.images]
        shown: dict[str, torch.Tensor] = {}
        if names:
            patches = [piece for prompt in new for piece in prompt.patches]
            shown = {
                "pixel_values": torch.cat(patches).to(device),
                "image_grid_thw": torch.cat([prompt.grids for prompt in new]).to(device),
            }
        with self._looking(shown["pixel_values"], names) if shown else nullcontext():
            last = self._forward(tokens, seen, positions[:, :, -tokens.shape[1] :], cache, shown)
        return _Batch(rows, cache, seen, last, positions.amax(dim=(0, 2)) + 1)

    def _forward(
        self,
        tokens: torch.Tensor,
        seen: torch.Tensor,
        positions: torch.Tensor,
        cache: Any,
        images: dict[str, torch.Tensor],
    ) -> torch.Tensor:
        """Reads tokens into a cache, and returns the logits behind the last one."""
        hidden = self._model.model(
            input_ids=tokens,
            attention_mask=seen,
            position_ids=positions,
            use_cache=True,
            **{self._cache_argument: cache},
            **images,
        ).last_hidden_state[:, -1]
        return self._model.get_output_embeddings()(hidden).float()

    def _draw(self, batch: _Batch, decoding: Decoding) -> list[Drawn]:
        replies = [Drawn([], []) for _ in batch.rows]
        rows = list(range(len(batch.rows)))  # of the cache -> of the batch
        open_rows = set(rows)
        logits, position, cache, seen = batch.last, batch.following, batch.cache, batch.seen
        device = logits.device
        drawers = [Drawer(row.prompt, decoding, device) for row in batch.rows]
        while True:
            token, chance = choose(logits, decoding, [drawers[row] for row in rows])
            drawn, chances = token.tolist(), chance.tolist()
            for at, row in enumerate(rows):
                if row in open_rows:
                    replies[row].tokens.append(drawn[at])
                    replies[row].probabilities.append(chances[at])
                    reply = replies[row].tokens
                    if reply[-1] in decoding.stop or len(reply) == decoding.limit:
                        open_rows.discard(row)
            state = _Batch(batch.rows, cache, seen, logits, position)
            if 2 * len(open_rows) <= len(rows):
                # What is done need not go on with the others
                for at, row in enumerate(rows):
                    if row not in open_rows and not self._caches.recurrent:
                        said = np.array(replies[row].tokens[:-1], np.int64)
                        self._keep(state, at, np.concatenate([batch.rows[row].names, said]))
                if not open_rows:
                    return replies
                left = [at for at, row in enumerate(rows) if row in open_rows]
                rows = [rows[at] for at in left]
                index = torch.tensor(left, device=device)
                cache.reorder_cache(index)
                seen, position, token = seen[index], position[index], token[index]
            goes_on = torch.tensor([[int(row in open_rows)] for row in rows], device=device)
            seen = torch.cat([seen, goes_on], dim=1)
            here = position.view(1, -1, 1).expand(3, -1, -1)
            logits = self._forward(token[:, None], seen, here, cache, {})
            position = position + 1

    def _keep(
        self, batch: _Batch, row: int, names: np.ndarray, earlier: Prefix | None = None
    ) -> None:
        if self._kept.have_room_for(self._caches.bytes_of(batch.cache, len(names))):
            self._kept.keep(self._prefix(batch, row, names, earlier))

    def _prefix(
        self, batch: _Batch, row: int, names: np.ndarray, earlier: Prefix | None = None
    ) -> Prefix:
        states = earlier.states_for(names) if earlier else {}
        return self._caches.prefix(batch.cache, row, batch.seen[row], names, states)


@dataclass(frozen=True, eq=False)
class _Row:
    """A dialogue to read.

    Attributes:
        prompt: the dialogue
        names: ``(n,)`` what each token is, see :func:`.kept_prefixes.names_of`
        ends: how many tokens the images before each image give, and all images together
        pictures (0): how many tokens end with the last image, in a model with recurrent layers
        messages (0): how many end with the last message, in such a model
    """

    prompt: Prompt
    names: np.ndarray
    ends: np.ndarray
    pictures: int = 0
    messages: int = 0

    def ends_behind(self, known: int) -> list[int]:
        """Up to where the row is read, step by step."""
        return [end for end in (self.messages, len(self.names)) if end > known]

    def until(self, length: int) -> _Row:
        """The first tokens, which end with a whole image or with none."""
        part = self._part(slice(0, length), slice(0, self._images(length)))
        return _Row(part, self.names[:length], self.ends[: len(part.images) + 1])

    def since(self, length: int) -> Prompt:
        """What follows on the first tokens."""
        return self._part(slice(length, None), slice(self._images(length), None))

    def _images(self, length: int) -> int:
        return int(np.searchsorted(self.ends, (self.names[:length] < 0).sum()))

    def _part(self, tokens: slice, images: slice) -> Prompt:
        whole = self.prompt
        return replace(
            whole,
            tokens=whole.tokens[tokens],
            images=whole.images[images],
            patches=whole.patches[images],
            grids=whole.grids[images],
        )


@dataclass(frozen=True, eq=False)
class _Batch:
    """Dialogues that were read together.

    Attributes:
        rows: the dialogues
        cache: the keys and values of their tokens
        seen: ``(rows, tokens)`` 1 where there is a token in the cache
        last: ``(rows, vocabulary)`` the logits behind the last token of each
        following: ``(rows,)`` the position of the token that follows
    """

    rows: Sequence[_Row]
    cache: Any
    seen: torch.Tensor
    last: torch.Tensor
    following: torch.Tensor


class Drawer:
    """The chance that the reply to one prompt is drawn with.

    Args:
        prompt: has ``temperature`` and ``seed``
        decoding: how other replies are drawn
        device: where logits are
    """

    def __init__(self, prompt: Prompt | Conversation, decoding: Decoding, device: Any):
        self.temperature = decoding.temperature
        self.generator: torch.Generator | None = None  # torch's own
        if prompt.temperature is not None:
            self.temperature = prompt.temperature
            # Its own, so that the reply does not depend on what else is in the batch
            self.generator = torch.Generator(device).manual_seed(prompt.seed)


def choose(
    logits: torch.Tensor, decoding: Decoding, drawers: Sequence[Drawer]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws a token in each row.

    Args:
        logits: ``(rows, vocabulary)``
        decoding: what is never drawn
        drawers: of each row

    Returns:
        ``(rows,)`` the tokens, and their probabilities before the temperature
    """
    chances = logits.softmax(dim=-1)
    if decoding.suppressed:
        logits[:, list(decoding.suppressed)] = -torch.inf
    token = logits.argmax(dim=-1, keepdim=True)
    drawn = [at for at, drawer in enumerate(drawers) if drawer.temperature > 0]
    if drawn:
        heat = torch.tensor([[drawers[at].temperature] for at in drawn], device=logits.device)
        weights = (logits[drawn] / heat).softmax(dim=-1)
        if all(drawers[at].generator is None for at in drawn):
            token[drawn] = torch.multinomial(weights, 1)
        else:
            for at, chance in zip(drawn, weights, strict=True):
                token[at] = torch.multinomial(chance, 1, generator=drawers[at].generator)
    return token[:, 0], chances.gather(1, token)[:, 0]


def _behind_last(marks: np.ndarray) -> int:
    """How many there are up to the last mark, with it."""
    at = np.flatnonzero(marks)
    return int(at[-1]) + 1 if len(at) else 0


def _padded(
    sequences: Sequence[Sequence[int]], pad: int, device: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pads on the left; returns the tokens, and 1 where there is one."""
    longest = max(map(len, sequences))
    tokens = [[pad] * (longest - len(sequence)) + list(sequence) for sequence in sequences]
    seen = [[0] * (longest - len(sequence)) + [1] * len(sequence) for sequence in sequences]
    return torch.tensor(tokens, device=device), torch.tensor(seen, device=device)
