"""All that there is to measure on a GPU, in 8 minutes; run.sh beside it installs what it needs.

bash benchmarks/gpu/run.sh
bash benchmarks/gpu/run.sh --device cpu --tiny --patience 4      # a rehearsal
bash benchmarks/gpu/run.sh --stages pair,tracker --out runs/gpu-again
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from stages import RUN, STAGES, run_stages
from table import is_good, make_table


def missing_device(device: str) -> str | None:
    """Says what to do if a device is not there; None if it is."""
    from fiftyone_revseg.models.devices import choose_device

    try:
        choose_device(device)
    except ValueError as error:
        return f"{error}. To rehearse without a GPU: run.sh --device cpu --tiny"
    return None


def main() -> None:
    names = [stage.name for stage in STAGES]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="(cuda)")
    parser.add_argument("--tiny", action="store_true", help="everything in miniature")
    parser.add_argument("--stages", default=",".join(names), help=f"which ({','.join(names)})")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="(runs/gpu)")
    parser.add_argument("--patience", type=float, default=1.0, help="times each limit of time (1)")
    args = parser.parse_args()
    unknown = sorted(set(args.stages.split(",")) - set(names))
    if unknown:
        parser.error(f"no such stages: {', '.join(unknown)}; choose of {', '.join(names)}")
    if problem := missing_device(args.device):
        raise SystemExit(problem)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a stage ends, too
    args.out.mkdir(parents=True, exist_ok=True)
    for name in (*(f"{name}.json" for name in names), RUN, "table.md"):
        (args.out / name).unlink(missing_ok=True)  # of an earlier run
    chosen = [stage for stage in STAGES if stage.name in args.stages.split(",")]
    run_stages(chosen, args.out, args.device, args.tiny, args.patience, _tell)
    table = make_table(args.out)
    (args.out / "table.md").write_text(table + "\n", encoding="utf-8")
    print(f"\n{table}\n\nlogs and figures of each stage: {args.out}")
    raise SystemExit(0 if is_good(args.out) else 1)


def _tell(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
