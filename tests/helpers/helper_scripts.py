"""Scripts in processes of their own, which find the helpers of the tests."""

import os
import subprocess
import sys
from pathlib import Path


def run_script(script: str, *arguments) -> str:
    """Returns what a Python script prints."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.run(command, capture_output=True, check=True, text=True, env=env).stdout
