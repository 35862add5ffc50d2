"""python benchmarks/run_sweep.py --dataset digits --seeds 0 1 2: run the sweep and keep its comparison as a result."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from record import commit

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Run the pipeline, which takes unchanged tasks from the cache, and write benchmarks/results/DATASET-sweep.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--source", default="bundled")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--latency-seconds", type=float, default=2.0)
    parser.add_argument("--home", type=Path, default=ROOT / ".moist")
    options = parser.parse_args()
    command = ["run", "--pipeline", "sweep", "--preset", options.preset, "--dataset", options.dataset]
    command += ["--source", options.source, "--seeds", ",".join(map(str, options.seeds)), "--home", str(options.home)]
    command += ["--latency-seconds", str(options.latency_seconds)]
    subprocess.run([sys.executable, str(ROOT / "pipeline.py"), *command], check=True, cwd=ROOT)
    runs = [folder for folder in (options.home / "runs").iterdir() if folder.name.startswith("sweep-")]
    newest = max(runs, key=lambda folder: folder.name)
    result = {
        "commit": commit(),
        "preset": options.preset,
        "n": len(options.seeds),
        "sweep": json.loads((newest / "results.json").read_text()),
    }
    path = ROOT / "benchmarks" / "results" / f"{options.dataset}-sweep.json"
    path.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    print(f"Wrote {path.relative_to(ROOT)}: {len(options.seeds)} seeds")


if __name__ == "__main__":
    main()
