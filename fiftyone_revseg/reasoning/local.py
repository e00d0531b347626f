"""A model on this machine, through transformers."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import textwrap
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fiftyone_revseg.files.digests import digest_files
from fiftyone_revseg.models.devices import choose_device, choose_dtype
from fiftyone_revseg.models.limits import check_directory, check_template
from fiftyone_revseg.models.quantization import (
    check_placing,
    own_method,
    placing_arguments,
    quantize_rest,
)
from fiftyone_revseg.models.weights import share, stamp
from fiftyone_revseg.reasoning.backend import Conversation, Image, Message, Reply, VideoFrames
from fiftyone_revseg.reasoning.complete_weights import check_loaded, refuse_adapters
from fiftyone_revseg.reasoning.regions import (
    LAST_TOKENS,
    OPENED_THOUGHT,
    mark_of,
    thought_is_open,
)
from fiftyone_revseg.reasoning.seen_images import SeenImages, name_of
from fiftyone_revseg.reasoning.spec import FILE_NAME, ChainSpec, complete_settings, read_settings
from fiftyone_revseg.reasoning.thinking import thinking_arguments

if TYPE_CHECKING:
    import numpy as np
    import torch

    from fiftyone_revseg.reasoning.decoding import Decoder, Decoding, Drawn, Prompt


_BUDGETS = (70, 140, 280, 560, 1120)  # tokens of a picture that Gemma 4 has to choose from
_ENDS = ("<|im_end|>", "<turn|>")  # of a message, in the templates of Qwen and of Gemma 4


@dataclass(frozen=True, eq=False)
class _Weights:
    """What reasoners of the same checkpoint share."""

    model: Any
    processor: Any
    digest: str
    # The model keeps positions, and the tokenizer its padding, between calls
    lock: threading.Lock = field(default_factory=threading.Lock)


class LocalReasoner:
    """Runs any image-text-to-text checkpoint, such as Qwen2.5-VL or Qwen3-VL, on this machine.

    Conversations of a batch are padded on the left, so each gets the reply that it would get alone
    (up to rounding). Decoding is greedy unless the spec asks for a temperature. Penalties and
    sampling settings that come with a checkpoint are ignored: they would distort coordinates.

    Args:
        model: a transformers model with ``generate``
        processor: its processor
        spec: how the checkpoint wants to be asked
        name: the checkpoint's name

    Attributes:
        digest: names the content of the checkpoint's weights; None if they are of no checkpoint
        settings: what replies depend on beside the weights: "quantization", if there is one
    """

    def __init__(self, model: Any, processor: Any, spec: ChainSpec, name: str) -> None:
        from transformers import GenerationConfig

        from fiftyone_revseg.reasoning.decoding import Decoder, can_decode

        self.model = model.eval()
        self.processor = processor
        self.spec = spec
        self.name = name
        self.digest: str | None = None
        self.settings: dict[str, Any] = {}
        self._weights: _Weights | None = None
        self._lock = threading.Lock()
        self._seen = SeenImages(model)
        self._decoder: Decoder | None = None
        if can_decode(model) and not _is_spread(model):
            self._decoder = Decoder(model, _held_bytes(model), self._seen.used)
        self._stop = _stop_tokens(model, processor.tokenizer)
        self._marks = _marks(processor.tokenizer)
        pad = processor.tokenizer.pad_token_id
        self._pad = self._stop[0] if pad is None else pad
        # in place of the checkpoint's own, which would fill in whatever a call leaves unsaid
        self.model.generation_config = GenerationConfig(
            eos_token_id=self._stop, pad_token_id=self._pad
        )
        _check_spec(spec, processor, name)

    @classmethod
    def load(
        cls,
        name_or_path: str | Path,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        spec: ChainSpec | Mapping[str, Any] | None = None,
        quantization: str | None = None,
        device_map: str | None = None,
    ) -> LocalReasoner:
        """Loads a checkpoint; only safetensors, and no code from the checkpoint is run.

        Checkpoints that are quantized already (FP8, AWQ, GPTQ, bitsandbytes) are loaded as they
        are.

        What was loaded before from the same files, in the same precision and to the same device,
        is shared as long as somebody holds it: leave the model's weights as they are.

        Args:
            name_or_path: a directory, or the id of a repository on the Hugging Face hub
            device (None): where to run; by default a CUDA GPU, else the CPU
            dtype (None): the precision; by default bfloat16 on GPUs that have it, else float32
            spec (None): how to ask the checkpoint, or a dict of settings that replace its own,
                see :func:`checkpoint_spec`
            quantization (None): "4bit" or "8bit" for weights in fewer bits, by bitsandbytes
            device_map (None): "auto" to spread the weights over all GPUs and the CPU

        Returns:
            a :class:`LocalReasoner`

        Raises:
            ValueError: if the checkpoint cannot be loaded, nobody says in which space its boxes
                are, or this machine has no such device
        """
        check_placing(quantization, device_map)
        device = choose_device(device)
        dtype = choose_dtype(dtype, device)
        name = _expand(name_or_path)
        if not isinstance(spec, ChainSpec):
            spec = checkpoint_spec(name, spec)
        key = (cls.__name__, _files_key(name), device, dtype, quantization, device_map)
        weights = share(key, lambda: _load(name, device, dtype, spec, quantization, device_map))
        reasoner = cls(weights.model, weights.processor, spec, name)
        reasoner.digest = weights.digest
        if quantization:
            reasoner.settings = {"quantization": quantization}
        reasoner._weights, reasoner._lock = weights, weights.lock
        return reasoner

    def generate(self, conversations: Sequence[Conversation], spec: ChainSpec) -> list[Reply]:
        """Continues each conversation by one assistant message, as one batch if that is possible.

        Args:
            conversations: the conversations, each ending with a user's message; their pictures
                must have sides that are multiples of the model's patches
            spec: the decoding settings: ``max_new_tokens``, ``thinking_tokens`` and
                ``temperature``

        Returns:
            one :class:`Reply` for each conversation, with the probability of each token

        Raises:
            ValueError: if a size in the spec does not fit the model, or a conversation is longer
                than what it reads
        """
        if not conversations:
            return []
        _check_spec(spec, self.processor, self.name)
        with self._lock:
            return self._generate(conversations, spec)

    def forget(self) -> None:
        """Frees the memory of what earlier dialogues were read into, and their images."""
        with self._lock:
            self._seen.forget()
            if self._decoder is not None:
                self._decoder.forget()

    def _generate(self, conversations: Sequence[Conversation], spec: ChainSpec) -> list[Reply]:
        started = time.perf_counter()
        inputs = self.encode(conversations)
        prompt_tokens = inputs["attention_mask"].sum(dim=1).tolist()
        self._check_length(max(prompt_tokens))
        if self._decoder is None or "pixel_values_videos" in inputs:
            drawn = self._drawn_by_transformers(conversations, inputs, spec)
        else:
            drawn = self._drawn(self._decoder, conversations, inputs, spec)
        seconds = (time.perf_counter() - started) / len(conversations)
        return [
            self._reply(reply.tokens, reply.probabilities, seconds, read, opened)
            for reply, read, opened in zip(drawn, prompt_tokens, self._opened(inputs), strict=True)
        ]

    def _drawn(
        self, decoder: Decoder, conversations: Sequence[Conversation], inputs: Any, spec: ChainSpec
    ) -> list[Drawn]:
        import torch

        from fiftyone_revseg.reasoning.decoding import Decoding

        decoding = Decoding(
            _most_tokens(conversations, spec), tuple(self._stop), self._pad, spec.temperature
        )
        try:
            with torch.inference_mode():
                return decoder.reply(_prompts(conversations, inputs), decoding)
        except torch.OutOfMemoryError:
            decoder.forget()  # a smaller batch may need the room
            raise

    def _drawn_by_transformers(
        self, conversations: Sequence[Conversation], inputs: Any, spec: ChainSpec
    ) -> list[Drawn]:
        import torch
        from transformers import LogitsProcessorList

        from fiftyone_revseg.reasoning.decoding import Decoding, Drawn

        recorder = _ProbabilityRecorder()
        limit, device = _most_tokens(conversations, spec), self.model.device
        decoding = Decoding(limit, tuple(self._stop), self._pad, spec.temperature)
        drawing = _Drawing(conversations, decoding, device)
        names = [name_of(part.pixels) for part in _images(conversations)]
        looking = self._seen.used(inputs.get("pixel_values"), names)
        with torch.inference_mode(), looking:
            sequences = self.model.generate(
                **inputs,
                max_new_tokens=limit,
                do_sample=False,
                eos_token_id=self._stop,
                pad_token_id=self._pad,
                logits_processor=LogitsProcessorList([recorder, drawing]),
            )
        written = sequences[:, inputs["input_ids"].shape[1] :].tolist()
        return [Drawn(*pair) for pair in zip(written, recorder.finish(sequences), strict=True)]

    def encode(self, conversations: Sequence[Conversation]) -> Any:
        """Turns conversations into the model's inputs, padded on the left, on its device.

        Everything that the processor returns is kept: without ``mm_token_type_ids``, for one,
        Qwen2.5-VL would silently give other logits.
        """
        texts = [self.render(conversation) for conversation in conversations]
        parts = [[part for m in c.messages for part in m.content] for c in conversations]
        # By conversation: some processors ask for it, the others make one list of them
        images = [[part.pixels for part in p if isinstance(part, Image)] for p in parts]
        videos = [part for p in parts for part in p if isinstance(part, VideoFrames)]
        arguments: dict[str, Any] = {}
        if any(images):
            arguments["images"] = images
        if videos:
            import numpy as np

            arguments["videos"] = [np.stack(video.frames) for video in videos]
        # Where a model takes any size, the pictures have theirs: a box in pixels must mean the
        # image that we know. Others see one size only, which their processors resize to
        size: dict[str, Any] = {"do_resize": False} if _patch_side(self.processor) > 1 else {}
        budget = _token_budget(self.processor, [image for some in images for image in some])
        inputs = self.processor(
            text=texts,
            **arguments,
            text_kwargs={"padding": True, "padding_side": "left"},
            images_kwargs={**size, **budget},
            videos_kwargs={
                **({} if _has_budget(self.processor) else size),
                "do_sample_frames": False,
                **({"video_metadata": [_metadata(v) for v in videos]} if videos else {}),
            },
            return_tensors="pt",
        )
        return inputs.to(self.model.device)

    def render(self, conversation: Conversation) -> str:
        """Renders a conversation with the checkpoint's own chat template, up to the reply."""
        messages = [_chat_message(message) for message in conversation.messages]
        return self.processor.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=True,
            **thinking_arguments(conversation.thinking),
        )

    def _check_length(self, tokens: int) -> None:
        """Refuses what is longer than the model's context: slow, memory without end, nonsense."""
        config = self.model.config.get_text_config()
        limit = getattr(config, "max_position_embeddings", None)
        if limit and tokens >= limit:
            raise ValueError(
                f"The question takes {tokens} tokens with its pictures, and the model "
                f"'{self.name}' reads at most {limit}: shorten the query, or set fewer or smaller "
                "frames in the spec"
            )

    def _opened(self, inputs: Any) -> list[bool]:
        """Whether each prompt ends within a thought, which its reply then goes on with."""
        ends = inputs["input_ids"][:, -LAST_TOKENS:].tolist()
        return [thought_is_open(self.processor.tokenizer.decode(end)) for end in ends]

    def _reply(
        self,
        ids: list[int],
        probabilities: list[float],
        seconds: float,
        prompt_tokens: int,
        opened: bool,
    ) -> Reply:
        end = next((i for i, token in enumerate(ids) if token in self._stop), len(ids))
        pieces = _pieces(self.processor.tokenizer, ids[:end])
        pieces = [self._marks.get(i, piece) for i, piece in zip(ids, pieces, strict=False)]
        probabilities = probabilities[:end]
        if opened:
            pieces, probabilities = [OPENED_THOUGHT, *pieces], [1.0, *probabilities]
        return Reply(
            text="".join(pieces),
            token_texts=tuple(pieces),
            token_probabilities=tuple(probabilities),
            seconds=seconds,
            prompt_tokens=prompt_tokens,
            tokens=min(end + 1, len(ids)),  # with the one that ends it, as servers count
            cut=end == len(ids),
        )


def checkpoint_spec(
    name_or_path: str | Path, settings: Mapping[str, Any] | None = None
) -> ChainSpec:
    """Finds out how a checkpoint wants to be asked, without loading its weights.

    Args:
        name_or_path: a directory, or the id of a repository on the Hugging Face hub
        settings (None): settings that replace the checkpoint's own

    Returns:
        the spec: ``settings``, then the checkpoint's ``revseg.json``, then the defaults of its
        model family

    Raises:
        ValueError: if this is no checkpoint of an image-text-to-text model, a setting is not
            valid, or nobody says in which space the boxes are
    """
    from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig

    if settings is not None and not isinstance(settings, Mapping):
        raise ValueError(
            f"spec is {settings!r}: give a ChainSpec or a dict of settings, such as "
            '{"box_convention": "pixels"}'
        )
    name = _expand(name_or_path)
    with contextlib.suppress(OSError):  # said below
        check_directory(_directory(name))
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    except _LOADING_ERRORS as e:
        raise _cannot_load(name, e) from e
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise ValueError(
            f"'{name}' is a '{config.model_type}' model, which does not answer questions about "
            "images: give the checkpoint of an image-text-to-text model"
        )
    return complete_settings(config.model_type, {**_own_settings(name), **(settings or {})})


_LOADING_ERRORS = (OSError, ValueError, KeyError, ImportError, RuntimeError)


def _load(
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    spec: ChainSpec,
    quantization: str | None,
    device_map: str | None,
) -> _Weights:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(name, trust_remote_code=False)
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    except _LOADING_ERRORS as e:
        raise _cannot_load(name, e) from e
    _check_processor(processor, name)
    _check_spec(spec, processor, name)  # before gigabytes are read
    refuse_adapters(name, _directory(name))
    placing = placing_arguments(config, device, dtype, quantization, device_map)
    loaded: Any
    try:
        loaded = AutoModelForImageTextToText.from_pretrained(
            name,
            dtype=dtype,
            attn_implementation=_attention(device, dtype),
            use_safetensors=True,  # a pickle could run code
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # or which they are is only in the log
            **placing,
        )
    except torch.OutOfMemoryError as e:
        raise _too_large(name, device) from e
    except (*_LOADING_ERRORS, SafetensorError) as e:
        raise _cannot_load(name, e, own_method(config)) from e
    model, info = loaded
    check_loaded(name, model, info)
    try:
        if quantization:
            quantize_rest(name, model)
        if not placing:
            model = model.to(device)
    except torch.OutOfMemoryError as e:
        raise _too_large(name, device) from e
    return _Weights(model, processor, digest_files(_weight_files(_directory(name))))


def _check_processor(processor: Any, name: str) -> None:
    """Refuses what could not ask anything, or would ask with no words at all."""
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None or getattr(processor, "image_processor", None) is None:
        raise ValueError(
            f"The model '{name}' has no processor for both text and images: put the processor's "
            "files of the original checkpoint beside its weights"
        )
    if not tokenizer("Where is it?", add_special_tokens=False).input_ids:
        raise ValueError(
            f"The tokenizer of the model '{name}' knows no words: put tokenizer.json of the "
            "original checkpoint beside its weights"
        )
    templates = _templates(processor)
    if not templates:
        raise ValueError(
            f"The model '{name}' has no chat template, so it cannot be asked in turns: give an "
            "instruction-tuned checkpoint, or put its chat_template.jinja beside its weights"
        )
    for template in templates:
        check_template(template, name)


def _templates(processor: Any) -> list[str]:
    """The chat templates that processor and tokenizer have: one each, or several by name."""
    found: dict[str, None] = {}
    for owner in (processor, processor.tokenizer):
        own = getattr(owner, "chat_template", None)
        named = own.values() if isinstance(own, dict) else [own]
        found.update(dict.fromkeys(text for text in named if isinstance(text, str)))
    return [*found]


def _cannot_load(name: str, error: Exception, quantized_by: str | None = None) -> ValueError:
    why = textwrap.shorten(str(error), 300, placeholder=" ...")
    if quantized_by:
        return ValueError(
            f"Cannot load the model '{name}', whose weights are quantized by {quantized_by}: "
            f"install what that takes, or name the checkpoint that they were made from ({why})"
        )
    return ValueError(
        f"Cannot load the model '{name}': give a directory with config.json, model.safetensors "
        f"and a processor, or the id of such a repository on the Hugging Face hub ({why})"
    )


def _too_large(name: str, device: torch.device) -> ValueError:
    return ValueError(
        f"The model '{name}' does not fit into the memory of '{device}': choose another device, a "
        "smaller model, quantization='4bit', device_map='auto' or dtype='bfloat16'"
    )


def _is_spread(model: Any) -> bool:
    """Whether a model is on several devices: what is kept between turns would have to be, too."""
    return len(set(getattr(model, "hf_device_map", {}).values())) > 1


def _expand(name_or_path: str | Path) -> str:
    path = Path(name_or_path).expanduser()
    return str(path) if path.is_dir() else str(name_or_path)


def _directory(name: str) -> Path:
    """The checkpoint's directory; of a hub id, that of the version in the cache."""
    from transformers.utils import cached_file

    if Path(name).is_dir():
        return Path(name)
    path = cached_file(name, "config.json")
    assert path is not None  # or it would have raised
    return Path(path).parent


def _files_key(name: str) -> Any:
    """Names the files that a checkpoint consists of now."""
    directory = _directory(name)
    if directory != Path(name):
        return str(directory)  # a version on the hub never changes
    # How to ask is not shared, so its file may change
    files = (path for path in directory.iterdir() if path.name != FILE_NAME)
    return stamp(sorted(path for path in files if path.is_file()))


def _weight_files(directory: Path) -> list[Path]:
    names = ["model.safetensors"]
    index = directory / "model.safetensors.index.json"
    if index.is_file() and not (directory / names[0]).is_file():
        names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    names += ["config.json", "adapter_config.json", "adapter_model.safetensors"]
    return [directory / name for name in names if (directory / name).is_file()]


def _check_spec(spec: ChainSpec, processor: Any, model: str) -> None:
    if spec.frame_encoding == "video" and getattr(processor, "video_processor", None) is None:
        raise ValueError(
            f"frame_encoding is 'video', but the model '{model}' takes no videos: set it to "
            "'images'"
        )
    side = _patch_side(processor)
    for name in ("frame_size", "key_frame_size"):
        size = getattr(spec, name)
        if size % side:
            near = max(side, round(size / side) * side)
            raise ValueError(
                f"{name} is {size}, but the model '{model}' sees squares of {side} pixels: "
                f"set it to a multiple, such as {near}"
            )
        if _has_budget(processor) and (size // side) ** 2 > _BUDGETS[-1]:
            raise ValueError(
                f"{name} is {size}, but the model '{model}' sees at most {_BUDGETS[-1]} squares of "
                f"{side} pixels: set it to {math.isqrt(_BUDGETS[-1]) * side} or less"
            )


def _patch_side(processor: Any) -> int:
    """The side, in pixels, of what makes one token; 1 where pictures are resized anyway."""
    pictures = processor.image_processor
    patch = getattr(pictures, "patch_size", None)
    merge = getattr(pictures, "merge_size", getattr(pictures, "pooling_kernel_size", None))
    return patch * merge if isinstance(patch, int) and isinstance(merge, int) else 1


def _has_budget(processor: Any) -> bool:
    """Whether pictures are padded to one of some numbers of tokens, as Gemma 4 has it."""
    return hasattr(processor.image_processor, "max_soft_tokens")


def _token_budget(processor: Any, images: Sequence[np.ndarray]) -> dict[str, int]:
    """What such a processor is told: the least that all pictures fit into."""
    if not images or not _has_budget(processor):
        return {}
    side = _patch_side(processor)
    most = max((image.shape[0] // side) * (image.shape[1] // side) for image in images)
    return {"max_soft_tokens": next((n for n in _BUDGETS if n >= most), _BUDGETS[-1])}


class _ProbabilityRecorder:
    """Records the probability of each chosen token while the model generates.

    A logits processor sees the scores before a token is chosen, and the token at its next call.
    Only one step's scores are kept: a thousand steps of a large vocabulary would fill a GPU.
    """

    def __init__(self) -> None:
        self._scores: torch.Tensor | None = None
        self._steps: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self._record(input_ids)
        self._scores = scores.float().softmax(dim=-1)
        return scores

    def finish(self, sequences: torch.Tensor) -> list[list[float]]:
        """Returns one list for each sequence, with a value in [0, 1] for each new token."""
        self._record(sequences)
        return [list(row) for row in zip(*(step.tolist() for step in self._steps), strict=True)]

    def _record(self, sequences: torch.Tensor) -> None:
        if self._scores is not None:
            self._steps.append(self._scores.gather(1, sequences[:, -1:].long()).squeeze(1))


class _Drawing:
    """Draws the token of each row with the row's own chance; transformers has one for a batch.

    A logits processor that leaves nothing but what was drawn.
    """

    def __init__(
        self, conversations: Sequence[Conversation], decoding: Decoding, device: torch.device
    ):
        from fiftyone_revseg.reasoning.decoding import Drawer

        self._decoding = decoding
        self._drawers = [Drawer(c, decoding, device) for c in conversations]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        from fiftyone_revseg.reasoning.decoding import choose

        if not any(drawer.temperature > 0 for drawer in self._drawers):
            return scores
        token, _ = choose(scores.float(), self._decoding, self._drawers)
        only = scores.new_full(scores.shape, -math.inf)
        return only.scatter_(1, token[:, None], 0.0)


def _most_tokens(conversations: Sequence[Conversation], spec: ChainSpec) -> int:
    thinks = any(conversation.thinking is not False for conversation in conversations)
    return spec.max_new_tokens + (spec.thinking_tokens if thinks else 0)


def _images(conversations: Sequence[Conversation]) -> list[Image]:
    parts = (part for c in conversations for m in c.messages for part in m.content)
    return [part for part in parts if isinstance(part, Image)]


def _prompts(conversations: Sequence[Conversation], inputs: Any) -> list[Prompt]:
    """The model's inputs, by conversation."""
    import torch

    from fiftyone_revseg.reasoning.decoding import Prompt

    patches: Sequence[torch.Tensor] = ()
    grids = torch.empty((0, 3), dtype=torch.long)
    if "pixel_values" in inputs:
        grids = inputs["image_grid_thw"]
        patches = inputs["pixel_values"].split(grids.prod(dim=1).tolist())
    prompts, start = [], 0
    for conversation, ids, mask in zip(
        conversations, inputs["input_ids"], inputs["attention_mask"], strict=True
    ):
        names = [name_of(image.pixels) for image in _images([conversation])]
        end = start + len(names)
        tokens = ids[mask.bool()].tolist()
        prompts.append(
            Prompt(
                tokens,
                names,
                patches[start:end],
                grids[start:end],
                conversation.temperature,
                conversation.seed,
            )
        )
        start = end
    return prompts


def _held_bytes(model: Any) -> int:
    """The memory for what dialogues were read into.

    On a GPU of 80 GB it holds 20 dialogues of Qwen2.5-VL 7B with 16 frames of 448 pixels.
    """
    import torch

    if model.device.type != "cuda":
        return 128 * 2**20
    return torch.cuda.get_device_properties(model.device).total_memory // 16


def _pieces(tokenizer: Any, ids: list[int]) -> list[str]:
    """Decodes token by token, such that the pieces join to the text of all tokens together.

    A character may be spread over several tokens; it then belongs to the last of them. Each piece
    is decoded behind the one before it, because some tokenizers drop a leading space.
    """

    def decode(part: list[int]) -> str:
        return tokenizer.decode(part, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    text = decode(ids)
    pieces: list[str] = []
    before: list[int] = []
    pending: list[int] = []
    for token in ids:
        pending = [*pending, token]
        piece = decode(before + pending)[len(decode(before)) :]
        unfinished = piece.endswith("\ufffd") and len(pending) < 4
        pieces.append("" if unfinished else piece)
        if not unfinished:
            before, pending = pending, []
    if "".join(pieces) == text:
        return pieces
    # bytes that make no character: measure every beginning of the reply against the whole, slowly
    ends = [0]
    for i in range(1, len(ids) + 1):
        pairs = zip(decode(ids[:i]), text, strict=False)
        same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        ends.append(max(ends[-1], same) if i < len(ids) else len(text))
    return [text[start:end] for start, end in itertools.pairwise(ends)]


def _chat_message(message: Message) -> dict[str, Any]:
    content = []
    for part in message.content:
        if isinstance(part, str):
            content.append({"type": "text", "text": part})
        else:
            content.append({"type": "image" if isinstance(part, Image) else "video"})
    return {"role": message.role, "content": content}


def _metadata(video: VideoFrames) -> dict[str, Any]:
    # the sampled frames are a video of their own, at the rate of the sampling
    count = len(video.frames)
    height, width = video.frames[0].shape[:2]
    return {
        "total_num_frames": count,
        "fps": video.fps,
        "frames_indices": list(range(count)),
        "duration": count / video.fps,
        "width": width,
        "height": height,
    }


def _marks(tokenizer: Any) -> dict[int, str]:
    """The special tokens, which are no text, that tell a thought from an answer."""
    pairs = zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True)
    return {i: mark_of(token) for i, token in pairs if mark_of(token)}


def _stop_tokens(model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end a reply: what the checkpoint says, and the end of a chat message."""
    configured = model.generation_config.eos_token_id
    tokens = list(configured) if isinstance(configured, (list, tuple)) else [configured]
    tokens += [tokenizer.eos_token_id, *map(tokenizer.get_vocab().get, _ENDS)]
    return list(dict.fromkeys(token for token in tokens if token is not None))


def _attention(device: torch.device, dtype: Any) -> str:
    import importlib.util

    half = str(dtype).rpartition(".")[2] in ("bfloat16", "float16")
    flash = device.type == "cuda" and half and importlib.util.find_spec("flash_attn") is not None
    return "flash_attention_2" if flash else "sdpa"


def _own_settings(name: str) -> dict[str, Any]:
    """Reads revseg.json from a checkpoint's directory or hub repository; {} if it has none."""
    from transformers.utils import cached_file

    if Path(name).is_dir():
        return read_settings(name) if (Path(name) / FILE_NAME).is_file() else {}
    try:
        path = cached_file(name, FILE_NAME)
    except OSError:  # there is none, or the hub cannot be reached: the config was there before
        return {}
    return read_settings(Path(path).parent) if path else {}
