"""The command line: ``revseg COMMAND ...``, one file per command.

Commands import what they need when they run, so that ``revseg --help`` answers at once.
"""

from __future__ import annotations

import click

from fiftyone_revseg.cli.apply import apply
from fiftyone_revseg.cli.benchmark import benchmark
from fiftyone_revseg.cli.calibrate import calibrate
from fiftyone_revseg.cli.compare import compare
from fiftyone_revseg.cli.ctrl_c import InterruptibleGroup
from fiftyone_revseg.cli.demo import demo
from fiftyone_revseg.cli.doctor import doctor
from fiftyone_revseg.cli.evaluate import evaluate
from fiftyone_revseg.cli.export import export
from fiftyone_revseg.cli.filter import filter_videos
from fiftyone_revseg.cli.import_benchmark import import_benchmark
from fiftyone_revseg.cli.install import install
from fiftyone_revseg.cli.judge import accept, reject
from fiftyone_revseg.cli.models import models
from fiftyone_revseg.cli.playable import playable
from fiftyone_revseg.cli.report import report
from fiftyone_revseg.cli.review import review
from fiftyone_revseg.cli.said_once import say_once
from fiftyone_revseg.cli.segment import segment
from fiftyone_revseg.cli.share import share
from fiftyone_revseg.cli.status import status
from fiftyone_revseg.cli.submit import load_predictions, submit, validate
from fiftyone_revseg.cli.train import train
from fiftyone_revseg.cli.views import views
from fiftyone_revseg.version import __version__


@click.group(cls=InterruptibleGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="revseg")
def main() -> None:
    """Segments in a video what a query asks for, and says why.

    A reasoning model looks at frames sampled from the video, thinks, picks the key frame in which
    the object is easiest to see, and boxes it there; SAM 2 then tracks it through all frames.

    \b
    Is everything installed?
      revseg doctor
    See it work on made-up videos, in FiftyOne:
      revseg demo
    Segment a video of your own, without a database:
      revseg segment clip.mp4 "the dog that jumps last" -o out --model Qwen/Qwen2.5-VL-7B-Instruct
    Segment all videos of a FiftyOne dataset:
      revseg apply my-videos --query "the dog that jumps last" --model revseg-qwen2.5-vl-7b
    """
    say_once()


_COMMANDS = (
    segment,
    import_benchmark,
    apply,
    status,
    review,
    views,
    accept,
    reject,
    compare,
    export,
    evaluate,
    calibrate,
    report,
    benchmark,
    submit,
    validate,
    load_predictions,
    filter_videos,
    demo,
    models,
    install,
    doctor,
    playable,
    train,
    share,
)
for command in _COMMANDS:
    main.add_command(command)
