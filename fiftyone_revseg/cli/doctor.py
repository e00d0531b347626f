"""``revseg doctor``."""

from __future__ import annotations

from typing import Any

import click

from fiftyone_revseg.cli.output import echo


@click.command(short_help="Say what is installed, and what to do about what is not.")
@click.argument("dataset_name", metavar="[DATASET]", required=False)
@click.option("--view", metavar="NAME", help="Only this saved view of the dataset.")
def doctor(dataset_name, view) -> None:
    """Says what is installed, and what to do about what is not.

    The exit code is 0 when the main job (a query and a video in, labels in FiftyOne out) can be
    done here, and 1 when something that it needs is missing.

    With the name of a FiftyOne dataset, it looks at the videos of DATASET instead, and lists those
    that the App plays wrongly: it shows other pictures than those of the labels where the frame
    rate varies or the pictures start late, and nothing where the browser does not know the codec.
    What is found is written to the fields playback_problem and playback_frames_off. The exit code
    is 1 if there are such videos.
    """
    if dataset_name is not None:
        _look_at(dataset_name, view)
        return
    if view is not None:
        raise click.UsageError("--view NAME is of a dataset: name that, too")

    from fiftyone_revseg.cli.checks import diagnose, healthy

    checks = diagnose()
    width = max(len(check.name) for check in checks)
    for check in checks:
        state = "ok" if check.ok else "MISSING" if check.needed else "absent"
        color = "green" if check.ok else "red" if check.needed else "yellow"
        echo(f"{check.name:{width}}  ", (f"{state:7}", color), f"  {check.found}")
        if check.advice:
            echo(f"{'':{width}}           {check.advice}")
    if not healthy(checks):
        missing = ", ".join(check.name for check in checks if check.needed and not check.ok)
        raise click.ClickException(f"not ready: {missing} (see above for what to do)")
    echo("Ready.")


def _look_at(dataset_name: str, view: str | None) -> None:
    from fiftyone_revseg.cli.datasets import open_view

    # Before anything else imports FiftyOne, see there
    samples = open_view(dataset_name, view)

    from fiftyone_revseg.cli.bars import RunBars
    from fiftyone_revseg.dataset.playback_fields import mark_playback

    try:
        with RunBars("Looking") as bars:
            found = mark_playback(samples, bars)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt("nothing was written") from None
    for line in _lines(found):
        echo(line)
    if found.problems or found.unreadable:
        count = len(found.problems) + len(found.unreadable)
        what = "video has" if count == 1 else "videos have"
        advice = f": revseg playable {dataset_name} makes copies" if found.problems else ""
        raise click.ClickException(f"{count} of {found.total} {what} a problem{advice}")
    echo(f"The App plays {found.total} of {found.total} videos right.")


def _lines(found: Any) -> list[str]:
    lines = [f"{found.names[i]}: {problem}" for i, problem in found.problems.items()]
    lines += [f"{name}: {reason}" for name, reason in found.unreadable.items()]
    if found.rounded:
        others = len(found.rounded) - 1
        more = f" and {others} more" if others else ""
        lines.append(
            f"{found.rounded[0]}{more}: right, but for times that are rounded: where a frame is"
            " sought, the App may show the picture before it"
        )
    return lines
