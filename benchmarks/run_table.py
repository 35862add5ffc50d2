"""python benchmarks/run_table.py --dataset fashion-mnist --source DIR: run the pipeline and keep its table as a result.

One JSON file a data set and preset under benchmarks/results/: the figures of every seed, their mean and spread, and
what they were measured with.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from record import commit

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ("accuracy", "loss", "macs", "router_macs", "paper_mflops", "parameters", "epochs", "training_macs")


def main() -> None:
    """Run once a seed; earlier seeds are taken from the cache."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--source", default="bundled")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--latency-seconds", type=float, default=2.0, help="another value measures anew, training nothing"
    )
    parser.add_argument("--home", type=Path, default=ROOT / ".moist")
    options = parser.parse_args()
    runs = []
    for seed in options.seeds:
        command = ["run", "--preset", options.preset, "--dataset", options.dataset, "--source", options.source]
        command += ["--seed", str(seed), "--home", str(options.home), "--latency-seconds", str(options.latency_seconds)]
        subprocess.run([sys.executable, str(ROOT / "pipeline.py"), *command], check=True, cwd=ROOT)
        newest = max((options.home / "runs").iterdir(), key=lambda folder: folder.stat().st_mtime)
        results = json.loads((newest / "results.json").read_text())
        runs.append(without_paths(results))
    write(options.dataset, options.preset, runs)


def without_paths(results: dict[str, Any]) -> dict[str, Any]:
    """A run's results less what only its report needs: curves, confusion matrices, and where its artifacts lay."""
    rows = [
        {key: value for key, value in row.items() if key not in ("confusion", "reliability")} for row in results["rows"]
    ]
    for row in rows:
        if row["routing"] is not None:
            row["routing"] = {key: row["routing"][key] for key in ("router", "r", "a", "b", "clusters", "share")}
    kept = {key: results[key] for key in ("data", "seed", "device", "threads", "number_format", "versions")}
    return {**kept, "clusters": results["clustering"]["clusters"], "rows": rows}


def write(dataset: str, preset: str, runs: list[dict[str, Any]]) -> None:
    """Keep mean and standard deviation over seeds of each row's figures beside the runs themselves."""
    table = {}
    for row in runs[0]["rows"]:
        same = [next(other for other in run["rows"] if other["key"] == row["key"]) for run in runs]
        table[row["key"]] = {
            "label": row["label"],
            **{name: spread([float(other[name]) for other in same]) for name in FIGURES},
            "latency": {
                str(timing["batch_size"]): spread([other["latency"][index]["median_ms"] for other in same])
                for index, timing in enumerate(row["latency"])
            },
        }
    result = {
        "commit": commit(),
        "dataset": dataset,
        "preset": preset,
        "n": len(runs),
        "table": table,
        "runs": runs,
    }
    path = ROOT / "benchmarks" / "results" / f"{dataset}-{preset}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    print(f"Wrote {path.relative_to(ROOT)}: {len(runs)} seeds")


def spread(values: list[float]) -> dict[str, float]:
    """Mean and sample standard deviation; 0 for one value."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.fmean(values), "stdev": deviation}


if __name__ == "__main__":
    main()
