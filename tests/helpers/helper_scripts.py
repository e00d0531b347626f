"""Scripts in processes of their own, which find the package and the helpers of the tests."""

import os
import subprocess
import sys
from pathlib import Path

HELPERS = Path(__file__).parent


def run_script(script: str, *arguments, **environment: str) -> str:
    """Returns what a Python script prints; it fails with what that says if it did not end well."""
    paths = [str(HELPERS), str(HELPERS.parents[1] / "benchmarks"), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=HELPERS.parents[1],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
