"""python benchmarks/readme.py: rewrite the tables in README.md from benchmarks/results/ (`make results`).

A table stands between `<!-- table: FILE -->` and `<!-- end -->`; a test compares README and results.
"""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results"
BLOCK = re.compile(r"(<!-- table: (?P<name>[a-z0-9-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
ORDER = ("teacher", "student", "mixture", "mixture_transformer", "mixture_linear", "same_budget", "same_cost", "oracle")


def main() -> None:
    """Rewrite README.md in place."""
    README.write_text(with_tables(README.read_text()))


def with_tables(text: str) -> str:
    """The text with every marked table made anew from its result file."""

    def fresh(match: re.Match[str]) -> str:
        result = json.loads((RESULTS / f"{match['name']}.json").read_text())
        return f"{match[1]}{table(result)}\n{match[3]}"

    return BLOCK.sub(fresh, text)


def table(result: dict[str, Any]) -> str:
    """A result as a Markdown table: mean, and standard deviation over seeds where there are several."""
    many = result["n"] > 1
    lines = [
        "| model | accuracy % | loss | MMAC | fewer than teacher | ms, batch 1 | ms, batch 64 |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    teacher = result["table"]["teacher"]["macs"]["mean"]
    for key in sorted(result["table"], key=ORDER.index):
        row = result["table"][key]
        spread = f" ± {100 * row['accuracy']['stdev']:.2f}" if many else ""
        macs = row["macs"]["mean"]
        cells = [
            label(row["label"], key, result["runs"]),
            f"{100 * row['accuracy']['mean']:.2f}{spread}",
            f"{row['loss']['mean']:.4f}",
            f"{macs / 1e6:.3f}",
            f"{teacher / macs:.1f}x",
            f"{row['latency']['1']['mean']:.2f}",
            f"{row['latency']['64']['mean']:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    run = result["runs"][0]
    seeds = ", ".join(str(each["seed"]) for each in result["runs"])
    which = "the mean over seeds" if many else "seed"
    deviation = "; ± is the standard deviation over seeds" if many else ""
    note = (
        f"{run['data']['test']:,} held-out images, {which} {seeds}{deviation}. {run['data']['split']} Measured on "
        f"{run['device']}, {run['threads']} threads, torch {run['versions']['torch']}, commit {result['commit'][:9]}."
    )
    return "\n".join([*lines, "", note])


def label(text: str, key: str, runs: list[dict[str, Any]]) -> str:
    """A row's label; where runs chose different numbers of students, all of them."""
    chosen = [other["label"] for run in runs for other in run["rows"] if other["key"] == key]
    counts = [found[1] for found in (re.search(r"k=(\d+)", one) for one in chosen) if found]
    return re.sub(r"k=\d+", f"k={', '.join(counts)}", text) if len(set(counts)) > 1 else text


if __name__ == "__main__":
    main()
