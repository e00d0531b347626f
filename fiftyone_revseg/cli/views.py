"""``revseg views``."""

from __future__ import annotations

import click

from fiftyone_revseg.cli import options
from fiftyone_revseg.cli.bars import RunBars
from fiftyone_revseg.cli.datasets import open_dataset
from fiftyone_revseg.cli.one_sentence import in_one_sentence
from fiftyone_revseg.cli.output import echo
from fiftyone_revseg.text.columns import in_columns


@click.command(short_help="Save a view of what failed, what is unsure, what to review.")
@click.argument("dataset_name", metavar="DATASET")
@click.argument("names", nargs=-1, metavar="[VIEW]...")
@options.field("--label-field", "revseg", "The label field with the answers.")
@click.option(
    "--threshold",
    type=options.Number(0, 1),
    metavar="X",
    help="For 'low confidence' and 'drift suspected'.  [default: the view's own]",
)
def views(dataset_name, names, label_field, threshold) -> None:
    """Saves views of the FiftyOne dataset DATASET, for the App and for --view of other commands.

    Each VIEW is saved under the label field's name and its own, in place of an earlier one. Without
    any VIEW, the views that there are to make are listed, and nothing is changed.

    \b
    Examples:
      revseg views my-videos
      revseg views my-videos failures "not yet reviewed"
      revseg views my-videos "low confidence" --threshold 0.7
      revseg export my-videos -o masks --view "revseg accepted"
    """
    if threshold is not None and len(names) != 1:
        raise click.UsageError("--threshold goes with one VIEW")
    dataset = open_dataset(dataset_name)  # before anything else imports FiftyOne, see there

    from fiftyone_revseg.dataset.collection import count_samples
    from fiftyone_revseg.dataset.saved_views import keep_view
    from fiftyone_revseg.dataset.schema import valid_label_field
    from fiftyone_revseg.dataset.views import VIEWS, check_view, make_view

    with in_one_sentence():
        label_field = valid_label_field(label_field)
        for name in names:
            check_view(name)
    if not names:
        rows = [(name, kind.description) for name, kind in VIEWS.items()]
        for line in in_columns([("VIEW", "SAMPLES IN WHICH"), *rows])[0]:
            echo(line)
    for name in names:
        with in_one_sentence(), RunBars("Measuring") as bars:
            view = make_view(dataset, name, label_field, threshold, bars)
            count = count_samples(view)
            saved = keep_view(dataset, f"{label_field} {name}", view)
        echo(f"{name}: {count} sample{'' if count == 1 else 's'}, saved as '{saved}'")
