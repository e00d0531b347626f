"""Pieces of forms that several operators have.

What is wrong with a form is said where it was typed, and keeps it from being submitted. FiftyOne
says the same to scripts, as it resolves the form before it executes an operator. It gives them no
defaults, though, as the App does: so nothing that has a default is required.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_revseg.dataset import explain
from fiftyone_revseg.dataset.collection import list_videos
from fiftyone_revseg.dataset.demonstration import demonstration_notice
from fiftyone_revseg.dataset.ownership import ForeignLabelsError, check_label_field, check_videos
from fiftyone_revseg.dataset.schema import fields_with_text, valid_label_field
from fiftyone_revseg.dataset.zoo.source import frames_input, known_trackers
from fiftyone_revseg.models.described import described_presets
from fiftyone_revseg.models.hub import is_on_disk
from fiftyone_revseg.models.presets import resolve
from fiftyone_revseg.models.quantization import SHARES
from fiftyone_revseg.pipeline import Loading
from fiftyone_revseg.reasoning.conventions import BOX_CONVENTIONS
from fiftyone_revseg.reasoning.serving.served import KEY_NAME, check_url
from fiftyone_revseg.reasoning.spec import LIMITS, LOOKING_AGAIN, ChainSpec
from fiftyone_revseg.text.escape import markdown, markdown_line
from fiftyone_revseg.tracking.checkpoints import OFFICIAL_PRESETS, find_checkpoint, is_hub_id
from fiftyone_revseg.tracking.transformers_checkpoints import PREFIX, find_files, is_transformers

#: How FiftyOne's own label field is called where nothing else was said
DEFAULT_LABEL_FIELD = "revseg"

#: The model of a form in which nothing else was chosen
DEFAULT_MODEL = "revseg-nano"


_COUNTS = (
    ("samples", "Samples", "How often the model is asked more, at a temperature. By default, 0"),
    ("rounds", "Rounds", "How often a verdict of none is asked about anew. By default, 0"),
    ("anchors", "Anchors", "How many boxes more a track may get where it broke. By default, 0"),
    ("looks", "Looks", "How often the model may ask to see a stretch closer. By default, 0"),
)


# Parts of the form that are folded away
_MORE = ("server", "box_convention", "quantization", "tracker", "frames")


class Form:
    """A form, as it is filled in so far: each question adds a part to it and returns the answer.

    Args:
        ctx: the :class:`fiftyone.operators.ExecutionContext`

    Attributes:
        ctx: that
        inputs: the parts of the form
        fault: the first thing that is wrong with it; None if all is well
    """

    def __init__(self, ctx: foo.ExecutionContext):
        self.ctx = ctx
        self.inputs = types.Object()
        self.fault: str | None = None

    @property
    def dataset(self) -> fo.Dataset:
        """The dataset that is open."""
        return self.ctx.dataset

    def typed(self, name: str) -> str:
        """Returns what was typed into a text field; "" if nothing was."""
        return text(self.ctx, name)

    def tell(
        self,
        name: str,
        title: str,
        text: str = "",
        view: type[types.AlertView] = types.Notice,
    ) -> types.Property:
        """Says something.

        Args:
            name: a name for the message, unlike that of any other part of the form
            title: what to say. The App reads it as Markdown, which is why both are escaped here
            text (""): more of it
            view (Notice): ``types.Notice``, ``types.Warning`` or ``types.Error``

        Returns:
            the part of the form
        """
        return self.inputs.view(name, view(label=markdown(title), description=markdown(text)))

    def refuse(self, name: str, message: str) -> None:
        """Says what is wrong with the whole form, and keeps it from being submitted.

        Args:
            name: a name for the message, unlike that of any other part of the form
            message: what is wrong and what to do, in one sentence
        """
        self.check(self.tell(name, message, view=types.Error), message)

    def wait_for(self, name: str, message: str) -> None:
        """Keeps the form from being submitted until something is filled in.

        Nothing is wrong yet, so nothing is shown in red: the message is for scripts.

        Args:
            name: the name of the parameter that is missing
            message: what is missing, in one sentence
        """
        self.check(self.inputs.str(f"{name}_missing", view=types.HiddenView()), message)

    def check(self, prop: types.Property, message: str | None) -> bool:
        """Marks a part of the form as wrong if there is a message.

        Args:
            prop: the part of the form
            message: what is wrong and what to do, in one sentence; None if all is well

        Returns:
            whether all is well
        """
        if message:
            prop.invalid = True
            prop.error_message = message
            self.fault = self.fault or message
        return not message

    def text(
        self,
        name: str,
        default: str | None = None,
        among: Sequence[str] | types.AutocompleteView | None = None,
        check: Callable[[str], Any] | None = None,
        missing: str | None = None,
        **kwargs: Any,
    ) -> str:
        """Asks for a text.

        Args:
            name: the name of the parameter
            default (None): what it is where nothing is typed
            among (None): values to offer, or the view that does; others can be typed, too
            check (None): raises a ``ValueError`` if a text is wrong; not called with ""
            missing (None): what is wrong if there is none. By default, nothing
            **kwargs: of ``inputs.str``

        Returns:
            the text, without spaces around it; "" if there is none
        """
        view = among
        if among is not None and not isinstance(among, types.AutocompleteView):
            view = offer(types.AutocompleteView(), among)
        prop = self.inputs.str(name, default=default, view=view, **kwargs)
        given = self.typed(name) or default or ""
        if missing and not given:
            self.wait_for(name, missing)
        self.check(prop, problem(check, given) if check and given else None)
        return given

    def choice(
        self,
        name: str,
        choices: Mapping[str, str] | Sequence[str],
        default: str | None = None,
        **kwargs: Any,
    ) -> str | None:
        """Asks for one of a few values.

        Args:
            name: the name of the parameter
            choices: value -> its description; or the values, if they need none
            default (None): the default. By default, the first
            **kwargs: of ``inputs.str``

        Returns:
            the value; None if it is not one of them, which is said in the form
        """
        default = default or next(iter(choices), None)
        described = choices if isinstance(choices, Mapping) else dict.fromkeys(choices, "")
        view = types.RadioGroup() if any(described.values()) else types.Dropdown()
        offer(view, list(choices), described)
        prop = self.inputs.str(name, default=default, view=view, **kwargs)
        chosen = self.typed(name) or default
        message = f"There is no {chosen!r} to choose from: {', '.join(choices) or 'nothing'}"
        return chosen if self.check(prop, None if chosen in choices else message) else None

    def enum(
        self,
        name: str,
        labels: Mapping[Any, str] | Iterable[Any],
        descriptions: Mapping[Any, str | None] | None = None,
        view: Any = None,
        **kwargs: Any,
    ) -> types.Property:
        """Asks for one of a few values, where the answer is for the caller to look at.

        Args:
            name: the name of the parameter
            labels: value -> what it is called; or the values, if they are called so themselves
            descriptions (None): value -> its description
            view (None): the view to show them in. By default, a ``Dropdown``
            **kwargs: of ``inputs.enum``

        Returns:
            the part of the form
        """
        view = offer(view or types.Dropdown(), labels, descriptions or {})
        return self.inputs.enum(name, view.values(), view=view, **kwargs)

    def number(
        self,
        name: str,
        default: float | None = None,
        check: Callable[[Any], Any] | None = None,
        whole: bool = True,
        **kwargs: Any,
    ) -> Any:
        """Asks for a number.

        Args:
            name: the name of the parameter
            default (None): what it is where nothing is typed
            check (None): raises a ``ValueError`` if it is wrong; not called with None
            whole (True): whether it must be a whole one
            **kwargs: of ``inputs.int`` or ``inputs.float``

        Returns:
            the number; None if there is none
        """
        add = self.inputs.int if whole else self.inputs.float
        prop = add(name, default=default, **kwargs)
        given = self.ctx.params.get(name)
        given = default if given is None else given
        self.check(prop, problem(check, given) if check and given is not None else None)
        return given

    def flag(self, name: str, label: str, description: str, **kwargs: Any) -> bool:
        """Asks whether something is wanted, which it is not by default."""
        self.inputs.bool(name, default=False, label=label, description=description, **kwargs)
        return bool(self.ctx.params.get(name))


def problem(function: Any, *args: Any) -> str | None:
    """Returns the message of the ``ValueError`` that a call raises; None if it raises none."""
    try:
        function(*args)
    except ValueError as error:
        return str(error)
    return None


def label_fields(dataset: fo.Dataset) -> list[str]:
    """Lists the label fields that hold results.

    Args:
        dataset: a :class:`fiftyone.core.dataset.Dataset`

    Returns:
        a list of names, the most recent one first
    """
    return explain.label_fields(dataset)


def text_fields(dataset: fo.Dataset) -> list[str]:
    """Lists the fields that can hold a query or a list of queries of each sample.

    Args:
        dataset: a :class:`fiftyone.core.dataset.Dataset`

    Returns:
        a list of names; those that results are written to are left out
    """
    results = {f"{name}_{suffix}" for name in label_fields(dataset) for suffix in _OWN_TEXTS}
    return [name for name in fields_with_text(dataset) if name not in results]


def offer(
    view: Any,
    labels: Mapping[Any, str] | Iterable[Any],
    descriptions: Mapping[Any, str | None] | None = None,
) -> Any:
    """Adds choices to a view, and returns it; see :meth:`Form.enum`."""
    called = labels if isinstance(labels, Mapping) else {}
    for value in labels:
        description = (descriptions or {}).get(value)
        view.add_choice(value, label=called.get(value, value), description=description)
    return view


def label_field_input(form: Form, description: str, videos: Any) -> str | None:
    """Asks for a label field to write to, and whether labels of others in it may be replaced.

    Args:
        form: the form; its fields are called "label_field" and "replace_foreign_labels"
        description: what the field is for
        videos: the collection that is written

    Returns:
        the name; None if it is not valid
    """
    prop = form.inputs.str(
        "label_field",
        default=DEFAULT_LABEL_FIELD,
        label="Label field",
        description=description,
        view=offer(types.AutocompleteView(), label_fields(form.dataset)),
    )
    try:
        name = valid_label_field(form.typed("label_field") or DEFAULT_LABEL_FIELD)
        check_label_field(form.dataset, name)
        # What is on samples with results is looked at by the run: that takes too long for a form
        check_videos(form.dataset, name, list_videos(videos), with_results=False)
    except ForeignLabelsError as error:
        replace = form.flag(
            "replace_foreign_labels",
            "Replace these labels",
            "They are lost then",
            view=types.CheckboxView(),
        )
        return name if form.check(prop, None if replace else str(error)) else None
    except ValueError as error:
        form.check(prop, str(error))
        return None
    return name


def existing_label_field_input(form: Form) -> str | None:
    """Asks for a label field that holds results: "label_field".

    Args:
        form: the form

    Returns:
        the name of the label field; None if there is no such field
    """
    names = label_fields(form.dataset)
    chosen = form.typed("label_field") or (names[0] if names else None)
    prop = form.enum("label_field", names, default=chosen, label="Label field")
    message = None
    if not names:
        message = "There are no results in this dataset yet: run ReVSeg's segment first"
    elif chosen not in names:
        message = f"There are no results in '{chosen}': there are in {', '.join(names)}"
    return chosen if form.check(prop, message) else None


def queries_input(form: Form, description: str, required: bool = False) -> str | None:
    """Asks for a field of queries, where it is not the one that is used by default: "query_field".

    Args:
        form: the form
        description: what is used by default
        required (False): whether there must be a field of queries

    Returns:
        the name of the field; None for the default
    """
    names = text_fields(form.dataset)
    view = offer(types.AutocompleteView(), names)
    prop = form.inputs.str(
        "query_field", label="Field of queries", description=description, view=view
    )
    chosen = form.typed("query_field")
    message = None
    if chosen and chosen not in names:
        message = f"There is no field '{chosen}' with text: there is {', '.join(names) or 'none'}"
    elif required and not chosen and not form.dataset.has_field("expressions"):
        message = "Name the field with the queries that the true objects answer"
        message = None if "query" in names else message
    form.check(prop, message)
    return chosen or None


def model_input(form: Form, description: str, served: bool = False) -> Any:
    """Asks for a model: "model".

    Args:
        form: the form
        description: what it is for
        served (False): whether it is on a server; which models that has is not asked with every
            letter that is typed

    Returns:
        the :class:`fiftyone_revseg.models.presets.Preset`; None if that is not known
    """
    view = types.AutocompleteView()
    for preset, words in described_presets().items():
        view.add_choice(preset, label=preset, description=words)
    name = form.text(
        "model",
        DEFAULT_MODEL,
        view,
        None if served else resolve,
        label="Model",
        description=description,
    )
    return None if served or problem(resolve, name) else resolve(name)


def model_inputs(form: Form, videos: Any = None, unfolded: bool = False) -> None:
    """Asks for a model: "model", and where more is wanted, how it is loaded and asked.

    What was typed is checked as far as that can be done without loading it.

    Args:
        form: the form
        videos (None): the collection that the model is asked about
        unfolded (False): whether what few need is asked for at once
    """
    server = form.typed("server")
    what = "A preset, a Hugging Face hub id, or the path of a checkpoint"
    preset = model_input(
        form, what + ("; here, the name on the server" if server else ""), bool(server)
    )
    if preset is not None:
        tell_of(form, preset)
    if videos is not None:
        _tell_what_it_knows(form, videos)
    _looking_again_inputs(form)
    is_open = unfolded or any(form.ctx.params.get(name) for name in _MORE)
    if not is_open:
        words = "A model on a server, weights in fewer bits, another tracker, more frames"
        is_open = form.flag("more_settings", "More settings", words)
    if is_open:
        _more_inputs(form, preset)


def _tell_what_it_knows(form: Form, videos: Any) -> None:
    """Says where a model is for demonstrations, and cannot know the videos."""
    try:
        words = demonstration_notice(videos, loading(form.ctx))
    except ValueError:  # which is said where the model is named
        return
    if words:
        title = "This model is for demonstrations"
        form.tell("demonstration_notice", title, words, types.Warning)


def _more_inputs(form: Form, preset: Any) -> None:
    """Asks for what few need: "server", "quantization", "tracker", "frames" and their like."""
    server = form.typed("server")
    form.text(
        "server",
        check=check_url,
        label="Server URL",
        description="Where a server has the model, such as http://localhost:8000/v1; its key is "
        f"the secret {KEY_NAME}. By default, the model runs here",
    )
    if server:
        form.inputs.enum(
            "box_convention",
            list(BOX_CONVENTIONS),
            label="Boxes",
            description="Pixels of the picture that is shown; 0 to 1000 along each side, with x or "
            "with y first; or 0 to 1. By default, what the checkpoint is known for",
            view=types.Dropdown(),
        )
    else:
        form.inputs.enum(
            "quantization",
            list(SHARES),
            label="Quantization",
            description="The model's weights in fewer bits, for small GPUs. By default, none",
            view=types.Dropdown(),
        )
    default = markdown_line(preset.tracker) if preset else "the model's"
    tracker_input(form, f". By default {default}")
    frames_input(form.inputs)


def _looking_again_inputs(form: Form) -> None:
    """Asks for the settings of a chain that looks again, once that is wanted: "look_again"."""
    words = (
        "More candidates, a verdict on the finished tracks, repairs: better answers that say how "
    )
    if not form.flag("look_again", "Look again", words + "certain they are, at more turns each"):
        return
    form.flag("verdict", "Verdict", "The model judges the finished tracks; gives a certainty")
    for name, label, description in _COUNTS:
        most = LIMITS[name][1]
        form.number(name, min=0, max=most, label=label, description=description)
    form.number(
        "max_gap",
        whole=False,
        min=0,
        label="Largest gap",
        description="The seconds that shown frames may lie apart; longer videos are asked about in "
        "windows. By default, no limit",
    )
    settings = _looking_again(form.ctx)
    if message := problem(ChainSpec.from_dict, settings):
        form.refuse("look_again_fault", message)
    elif settings.get("rounds") and not settings.get("verdict"):
        title = "Rounds do nothing without a verdict"
        form.tell("rounds_notice", title, "Unless the checkpoint's own settings have one")


def _looking_again(ctx: Any) -> dict[str, Any]:
    """What was said about looking again."""
    given = {name: ctx.params.get(name) for name in LOOKING_AGAIN}
    if not ctx.params.get("look_again"):
        return {}
    settings = {name: value for name, value in given.items() if value not in (None, False, "")}
    whole = {name for name, *_ in _COUNTS}
    return {
        name: int(value) if name in whole and isinstance(value, float) and value % 1 == 0 else value
        for name, value in settings.items()
    }


def tracker_input(form: Form, by_default: str = "", default: str | None = None) -> str:
    """Asks for a tracker: "tracker"."""
    return form.text(
        "tracker",
        default,
        known_trackers(),
        check_tracker,
        label="Tracker",
        description=f"A SAM 2 checkpoint: a name, a hub id or a path{by_default}",
    )


def loading(ctx: Any) -> Loading:
    """Returns which models a form names.

    Args:
        ctx: the :class:`fiftyone.operators.ExecutionContext`, whose form has
            :func:`model_inputs`
    """
    frames, server = ctx.params.get("frames"), text(ctx, "server") or None
    spec: dict[str, Any] = {"frames": int(frames)} if frames else {}
    if server and text(ctx, "box_convention"):
        spec["box_convention"] = text(ctx, "box_convention")
    spec |= _looking_again(ctx)
    return Loading(
        text(ctx, "model") or DEFAULT_MODEL,
        text(ctx, "tracker") or None,
        text(ctx, "device") or None,
        text(ctx, "dtype") or None,
        spec or None,
        server,
        (ctx.secrets.get(KEY_NAME) or None) if server else None,
        quantization=None if server else text(ctx, "quantization") or None,
        device_map=None if server else text(ctx, "device_map") or None,
    )


def text(ctx: Any, name: str) -> str:
    """Returns what was typed into a text field, without spaces around it; "" if nothing was."""
    value = ctx.params.get(name)
    return value.strip() if isinstance(value, str) else ""


_OWN_TEXTS = ("status", "reasoning")


def check_tracker(name: str) -> None:
    """Raises a ``ValueError`` if a tracker is neither here nor can be on the hub."""
    bare = name.removeprefix(PREFIX)
    on_hub = bare in OFFICIAL_PRESETS or is_hub_id(bare)
    if Path(bare).expanduser().exists() or not on_hub:
        (find_files if is_transformers(name) else find_checkpoint)(name)


def tell_of(form: Form, preset: Any) -> None:
    """Says what should be known of a model before the button is pressed."""
    missing = sum(weights.size for weights in preset.weights if not is_on_disk(weights))
    if missing:
        form.tell("download_notice", f"{missing / 1e9:.1f} GB will be downloaded first")
    if preset.license and preset.license != "Apache-2.0":
        title = f"Licence: {preset.license}"
        form.tell("license_warning", title, preset.description, types.Warning)
