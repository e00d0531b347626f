"""``revseg review``."""

from __future__ import annotations

import click

from fiftyone_revseg.cli import options
from fiftyone_revseg.cli.datasets import open_dataset
from fiftyone_revseg.cli.one_sentence import in_one_sentence
from fiftyone_revseg.cli.output import echo
from fiftyone_revseg.text.escape import one_line


@click.command(short_help="List what a person should look at, the least certain first.")
@click.argument("dataset_name", metavar="DATASET")
@click.option(
    "--label-field",
    metavar="FIELD",
    help="The label field with the answers.  [default: the most recent one, as in the App]",
)
@click.option(
    "--list",
    "name",
    default="not yet reviewed",
    show_default=True,
    metavar="NAME",
    help="Another view: failures, 'low confidence', 'no target', ...",
)
@options.number("--limit", "How many videos.", default=20)
def review(dataset_name, label_field, name, limit) -> None:
    """Lists the videos of the FiftyOne dataset DATASET that a person should look at.

    Those with the least certain answer come first, as in the App's view of that name. Of each video
    it prints the least certain answer: its certainty, the confidence of the box, the query and what
    was found. Nothing is changed.

    \b
    Examples:
      revseg review my-videos
      revseg review my-videos --list "low confidence" --limit 5
    """
    dataset = open_dataset(dataset_name)  # before anything else imports FiftyOne, see there

    from fiftyone_revseg.dataset.collection import count_samples
    from fiftyone_revseg.dataset.explain import explain, in_review_order, label_fields
    from fiftyone_revseg.dataset.schema import valid_label_field
    from fiftyone_revseg.dataset.views import make_view
    from fiftyone_revseg.text.columns import in_columns

    with in_one_sentence():
        recent = [*label_fields(dataset), "revseg"][0]
        label_field = valid_label_field(label_field or recent)
        view = make_view(dataset, name, label_field)
    rows = [["certainty", "box", "query", "found", "video"]]
    for sample in view.limit(limit).iter_samples():
        # What nobody has judged yet, if there is any
        answers = in_review_order(explain(sample, label_field))
        open_ones = [a for a in answers if not {"accepted", "rejected"} & {*a.tags}]
        for one in (open_ones or answers)[:1]:
            numbers = [one.certainty, one.confidence]
            texts = [one.query, one.description or one.status, sample.filepath]
            rows.append(
                ["-" if n is None else f"{n:.2f}" for n in numbers]
                + [one_line(text, width) for text, width in zip(texts, (40, 30, None), strict=True)]
            )
    total = count_samples(view)
    echo(f"{name}: {total} video{'' if total == 1 else 's'}, the first {len(rows) - 1}:")
    for line in in_columns(rows)[0] if total else ():
        echo(line)
