"""``python -m fiftyone_revseg.cli``, which works where the ``revseg`` script is not on PATH."""

from fiftyone_revseg.cli import main

main(prog_name="revseg")
