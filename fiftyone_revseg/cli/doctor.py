"""``revseg doctor``."""

from __future__ import annotations

import click

from fiftyone_revseg.cli.output import echo


@click.command(short_help="Say what is installed, and what to do about what is not.")
def doctor() -> None:
    """Says what is installed, and what to do about what is not.

    The exit code is 0 when the main job (a query and a video in, labels in FiftyOne out) can be
    done here, and 1 when something that it needs is missing.
    """
    from fiftyone_revseg.doctor import diagnose, healthy

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
