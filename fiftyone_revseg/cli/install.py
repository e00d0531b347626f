"""``revseg install``."""

from __future__ import annotations

import click

from fiftyone_revseg.cli.one_sentence import in_one_sentence
from fiftyone_revseg.cli.output import echo


@click.command(short_help="Add the operators, the panel and the models to FiftyOne.")
@click.option("--uninstall", is_flag=True, help="Remove them instead.")
def install(uninstall) -> None:
    """Adds the operators and the panel to the FiftyOne App, and the models to its Model Zoo.

    A small folder in FiftyOne's directory of plugins hands over to this package: an update of the
    package is an update of the plugin. Doing it again changes nothing. An App that is open shows
    the operators after it is reloaded.

    \b
    Examples:
      revseg install
      revseg install --uninstall
    """
    with in_one_sentence():
        from fiftyone_revseg.app.install import install_plugin, uninstall_plugin

        for line in uninstall_plugin() if uninstall else install_plugin():
            echo(line)
