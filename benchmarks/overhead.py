"""python benchmarks/overhead.py --preset quick: what of a run's time is not its stages' own computing.

A run in a fresh home, then the same again, fully cached. Words after `--` go to `pipeline.py run`, e.g. another data
set. Results are kept by name in benchmarks/results/overhead.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from moist.runtime.artifacts import MANIFEST, Manifest
from moist.runtime.local_store import store
from moist.runtime.runs import read_run
from moist.runtime.store import Store
from record import RESULTS, write

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("compute", "start of tasks, imports", "transfer", "kfp", "command, store")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--name", help="of the result [digits-PRESET]")
    parser.add_argument("--repeats", type=int, default=1, help="whole runs")
    parser.add_argument("--cached", type=int, default=5, help="cached runs after the last one")
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results/overhead.json")
    parser.add_argument("others", nargs="*", help="further arguments of `pipeline.py run`")
    options = parser.parse_args()
    runs, cached = [], []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as home:
            command = ["run", "--preset", options.preset, "--home", home, *options.others]
            wall = seconds_of(command)
            runs.append(breakdown(Path(home), wall))
            if len(runs) == options.repeats:
                cached = [seconds_of(command) for _ in range(options.cached)]
    parts = {part: statistics.fmean(run[part] for run in runs) for part in PARTS}
    shares = [1 - run["compute"] / sum(run.values()) for run in runs]
    walls = [sum(run.values()) for run in runs]
    result = {
        "n": len(runs),
        "wall_seconds": walls,
        "parts_seconds": parts,
        "overhead_share": shares,
        "cached": {"n": len(cached), "seconds": cached},
        "arguments": ["--preset", options.preset, *options.others],
    }
    wall = statistics.fmean(walls)
    print(f"{wall:.1f} s a run (n = {len(runs)}), of which {', '.join(f'{p} {s:.1f} s' for p, s in parts.items())}")
    print(f"overhead {statistics.fmean(shares):.1%} of the wall time, {wall - parts['compute']:.1f} s")
    if cached:
        print(
            f"all cached: {statistics.fmean(cached):.1f} s (n = {len(cached)}, {min(cached):.1f} to {max(cached):.1f})"
        )
    if options.write:
        path = RESULTS / "overhead.json"
        before = json.loads(path.read_text())["results"] if path.exists() else {}
        print(write("overhead", {**before, options.name or f"digits-{options.preset}": result}, {}))


def seconds_of(command: list[str]) -> float:
    """Wall seconds of one command of pipeline.py."""
    began = time.perf_counter()
    subprocess.run([sys.executable, str(ROOT / "pipeline.py"), *command], check=True, stdout=sys.stderr)
    return time.perf_counter() - began


def breakdown(home: Path, wall: float) -> dict[str, float]:
    """Where the wall seconds of the run in this home went; its tasks ran one after another."""
    found = dict.fromkeys(PARTS, 0.0)
    with store(home / "store") as environment:
        remote = Store.of(environment)
        record = read_run(remote, "latest")
        tasks: dict[str, dict[str, Any]] = record.tasks
        for task in tasks.values():
            folders = [output["artifacts"][0]["uri"] for output in task["output"]["artifacts"].values()]
            uri = next(uri for uri in folders if MANIFEST in remote.list(uri))
            manifest = Manifest.model_validate_json(remote.get_bytes(f"{uri}/{MANIFEST}"))
            start = (datetime.fromisoformat(manifest.started) - datetime.fromisoformat(task["started"])).total_seconds()
            found["compute"] += manifest.compute_seconds
            found["start of tasks, imports"] += start
            found["transfer"] += task["seconds"] - start - manifest.compute_seconds
        found["kfp"] = record.seconds - sum(task["seconds"] for task in tasks.values())
        found["command, store"] = wall - record.seconds
    return found


if __name__ == "__main__":
    main()
