"""What all operators of the plugin have in common.

An operator asks for its settings once: :meth:`Operator.ask` adds the questions to a form and
returns the answers. The App shows that form; a run takes its answers from it, too, so that what a
form refuses is what a run refuses, with the same words, and defaults stand in one place.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types
from fiftyone.operators.message import GeneratedMessage

from fiftyone_revseg.app.forms import Form
from fiftyone_revseg.app.running import Report, result_of, run_delegated, stream
from fiftyone_revseg.text.escape import markdown_block

Subject = TypeVar("Subject")
Settings = dict[str, Any]
Table = tuple[list[str], list[list[str]]]


@dataclass
class Run(Generic[Subject]):
    """One execution of an operator.

    Attributes:
        ctx: the :class:`fiftyone.operators.ExecutionContext`
        subject: what it is about
        title: what it is called
        report: what to tell of progress; raises ``KeyboardInterrupt`` if it is to stop
        view: the view to show in the App when all is done; None to leave it as it is
        fields: the fields to show there; None to leave them as they are
    """

    ctx: foo.ExecutionContext
    subject: Subject
    title: str
    report: Report
    view: Any = None
    fields: list[str] | None = None

    def show(self) -> Iterator[GeneratedMessage]:
        """Tells the App what to show when all is done."""
        ops, shown = self.ctx.ops, self.ctx.active_fields or ()
        if self.fields is not None and self.fields[-1] not in shown:
            yield ops.set_active_fields(self.fields)
            colors = self.ctx.dataset.app_config.color_scheme
            if colors is not None and colors.color_by:
                scheme = {"color_by": colors.color_by, "fields": colors.fields or []}
                yield self.ctx.trigger("set_color_scheme", scheme)
        if self.view is not None:
            yield ops.set_view(view=self.view)


class Operator(foo.Operator, Generic[Subject]):
    """An operator that asks in a form, works while it shows how far it is, and sums up.

    Attributes:
        name: its name
        label: what it is called in the list of operators
        description: what it does
        icon: its icon
        risk: the :class:`fiftyone.operators.types.RiskLevel`
        title: what is written above its form and its output. By default, the label
        button: the button that submits the form
        target: what is done to the view, such as "Compare"; "" if it is not about a view
        delegate_by_default: whether the App suggests to schedule it
        streams: whether it shows how far it is
        delegates: whether it can be scheduled
        stopped: what it says if somebody stopped it
    """

    name: ClassVar[str]
    label: ClassVar[str]
    description: ClassVar[str]
    icon: ClassVar[str]
    risk: ClassVar[types.RiskLevel]
    title: ClassVar[str] = ""
    button: ClassVar[str]
    target: ClassVar[str] = ""
    delegate_by_default: ClassVar[bool] = False
    streams: ClassVar[bool] = True
    delegates: ClassVar[bool] = True
    stopped: ClassVar[str] = ""
    _filled: tuple[Form, Any, Settings | None] | None = None

    def subject(self, form: Form) -> Subject | None:
        """Finds what the operator is about; asks for it, where it has to.

        Args:
            form: the form so far

        Returns:
            what it is about; None if there is nothing, which is said in the form

        Raises:
            ValueError: if there is nothing; its message is said in the form
        """
        return None

    def ask(self, form: Form, subject: Any) -> Settings | None:
        """Asks for everything else.

        Args:
            form: the form so far
            subject: what the operator is about

        Returns:
            the arguments of :meth:`work`; None if the form says why there are none

        Raises:
            ValueError: if there are none; its message is said in the form, too
        """
        return {}

    def tell(self, form: Form, subject: Any, settings: Settings) -> None:
        """Says in a form without faults what should be known before the button is pressed."""

    def work(self, run: Run[Any], *args: Any, **settings: Any) -> dict[str, Any]:
        """Does the work.

        Args:
            run: the :class:`Run`
            *args: none
            **settings: what :meth:`ask` returned

        Returns:
            the result, which must be JSON; "state" is "done" unless it says otherwise
        """
        raise NotImplementedError

    def stopped_result(self) -> dict[str, Any]:
        """The result if somebody stopped it, beside the "state"."""
        return {"summary": self.stopped}

    def words(self, result: dict[str, Any]) -> dict[str, str]:
        """Says a result in words: the names of texts -> Markdown."""
        return {"words": markdown_block(result["summary"])}

    def tables(self, result: dict[str, Any]) -> dict[str, Table]:
        """Says a result in figures: the names of tables -> the head and the rows, as plain text."""
        return {}

    def params(self, given: dict[str, Any]) -> dict[str, Any]:
        """Makes the params of the arguments that a script gave; None stands for the default."""
        return given

    @property
    def config(self) -> foo.OperatorConfig:
        return foo.OperatorConfig(
            name=self.name,
            label=self.label,
            description=self.description,
            icon=self.icon,
            dynamic=True,
            execute_as_generator=self.streams,
            allow_immediate_execution=True,
            allow_delegated_execution=self.delegates,
            default_choice_to_delegated=self.delegate_by_default,
            risk_level=self.risk,
        )

    def resolve_input(self, ctx: foo.ExecutionContext) -> types.Property:
        form, subject, settings = self._filled = self._fill(ctx)
        if settings is not None and form.fault is None:
            self.tell(form, subject, settings)
        view = types.PromptView(label=self.title or self.label, submit_button_label=self.button)
        return types.Property(form.inputs, view=view)

    def execute(self, ctx: foo.ExecutionContext) -> Any:
        # FiftyOne has it filled in just before, with the same context
        filled, self._filled = self._filled, None
        if filled is None or filled[0].ctx is not ctx:
            filled = self._fill(ctx)
        form, subject, settings = filled
        if settings is None or form.fault is not None:
            raise ValueError(form.fault)
        run = Run(ctx, subject, self.resolve_run_name(ctx) or self.label, _ignore)

        def work(report: Report) -> dict[str, Any]:
            run.report = report
            try:
                return {"state": "done", **self.work(run, **settings)}
            except KeyboardInterrupt:
                return {"state": "stopped", **self.stopped_result()}

        if not self.streams:
            return self.work(run, **settings)
        if ctx.delegated:
            return run_delegated(ctx, work, run.title)
        return stream(ctx, work, run.title, run.show)

    def resolve_output(self, ctx: foo.ExecutionContext) -> types.Property:
        outputs = types.Object()
        for name, text in (self.words(ctx.results) if ctx.results else {}).items():
            outputs.md(text, name=name)
        for name, table in (self.tables(ctx.results) if ctx.results else {}).items():
            _add_table(outputs, name, table)
        return types.Property(outputs, view=types.View(label=self.title or self.label))

    def resolve_run_name(self, ctx: foo.ExecutionContext) -> str:
        return self.label

    def call(self, samples: Any, given: dict[str, Any], delegate: bool = False) -> Any:
        """Executes the operator from a script.

        Args:
            samples: a :class:`fiftyone.core.collections.SampleCollection`
            given: its arguments
            delegate (False): whether to schedule this rather than to do it now

        Returns:
            the operator's result; if it was delegated, the
            :class:`fiftyone.operators.executor.ExecutionResult`
        """
        params = {k: v for k, v in self.params(given).items() if v is not None}
        kind = "dataset" if isinstance(samples, fo.Dataset) else "view"
        context = {kind: samples, "params": params, "request_delegation": delegate}
        execution = foo.execute_operator(self.uri, context)
        if delegate:
            return execution
        return result_of(execution) if self.streams else execution.result

    def _fill(self, ctx: foo.ExecutionContext) -> tuple[Form, Any, Settings | None]:
        """Fills in the form; returns it, what the operator is about, and what was answered."""
        form = Form(ctx)
        if self.target:
            form.inputs.view_target(ctx, action_description=self.target)
        try:
            subject = self.subject(form)
            if form.fault is None:
                return form, subject, self.ask(form, subject)
        except ValueError as error:
            form.refuse("refused", str(error))
        return form, None, None


def figures(summary: Any, *names: str) -> dict[str, Any]:
    """What a summary says, as JSON for scripts, and in words as "summary".

    Args:
        summary: the summary
        *names: of its attributes: numbers and texts are kept as they are; of all else it is told
            how many there are, for "failures" by reason
    """
    values = {name: getattr(summary, name) for name in names}
    told: dict[str, Any] = {
        k: v if isinstance(v, (int, str)) else len(v) for k, v in values.items()
    }
    if "failures" in told:
        told["failures"] = [[reason, len(ids)] for reason, ids in values["failures"].items()]
    return {**told, "summary": str(summary)}


def _add_table(outputs: types.Object, name: str, table: Table) -> None:
    head, rows = table
    view = types.TableView(componentsProps={"table": {"sx": {"minWidth": 0}}})
    keys = [f"column_{k}" for k in range(len(head))]
    for key, label in zip(keys, head, strict=True):
        view.add_column(key, label=label)
    cells = [dict(zip(keys, row, strict=True)) for row in rows]
    outputs.list(name, types.Object(), default=cells, view=view)


def from_script(method: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a method execute its operator with its arguments as params.

    The method's signature and docstring are what a script sees; its body is never run. Its first
    argument is the collection. ``delegate`` is whether to schedule the operator.
    """
    signature = inspect.signature(method)

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        operator, samples, *_ = bound.args
        given = dict(list(bound.arguments.items())[2:])
        delegate = given.pop("delegate", False)
        return operator.call(samples, {k: _plain(k, v) for k, v in given.items()}, delegate)

    return call


def _plain(name: str, value: Any) -> Any:
    """An argument as JSON has it; label fields are named without "frames."."""
    if isinstance(value, Path):
        return str(value)
    labels = "field" in name.split("_") and name not in ("query_field", "prompt_field")
    if isinstance(value, str) and labels:
        return value.removeprefix("frames.")
    return value


def _ignore(progress: Any) -> None:
    pass
