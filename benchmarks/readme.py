"""python benchmarks/readme.py: rewrite tables and plots of README and docs from benchmarks/results/ (`make results`).

A table stands between `<!-- table: FILE -->` and `<!-- end -->`; those that are made of several files are in
FROM_SEVERAL; all points of a sweep stand between `<!-- points: FILE -->` and `<!-- end -->`. A test compares them and
the results.
"""

import json
import re
from pathlib import Path
from typing import Any

import readme_sweep
from moist.reports import paper
from readme_best import best_table
from readme_cost import cost_svg
from readme_mode import MAKERS
from readme_routing import routing_table
from readme_serving import serving_table
from readme_speed import speed_table
from readme_table1 import table1
from readme_teacher import recipes_table, teacher_table
from readme_translation import translation_table

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (README, *sorted((ROOT / "docs").glob("*.md")))
COST_PLOT = ROOT / "docs" / "cifar10-cost.svg"
BLOCK = re.compile(r"(<!-- (?P<kind>table|points): (?P<name>[a-z0-9-]+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)
FROM_SEVERAL = {"speed": speed_table, "serving": serving_table, "table1": table1, **MAKERS}
"""Tables that are made of several results."""
ORDER = ("teacher", "student", "mixture", "mixture_transformer", "mixture_linear", "same_budget", "same_cost", "oracle")


def main() -> None:
    """Rewrite them in place."""
    for page in PAGES:
        page.write_text(with_tables(page.read_text()))
    COST_PLOT.write_text(cost_svg(RESULTS))


def with_tables(text: str) -> str:
    """The text with every marked table made anew from its result file."""

    def fresh(match: re.Match[str]) -> str:
        if match["name"] in FROM_SEVERAL:
            return f"{match[1]}{FROM_SEVERAL[match['name']](RESULTS)}\n{match['end']}"
        result = json.loads((RESULTS / f"{match['name']}.json").read_text())
        if match["name"] == "mode-translation":
            return f"{match[1]}{translation_table(result)}\n{match['end']}"
        if match["name"] == "teacher-recipes":
            return f"{match[1]}{recipes_table(result)}\n{match['end']}"
        if match["name"].startswith("routing-"):
            return f"{match[1]}{routing_table(result)}\n{match['end']}"
        if match["name"].endswith("-teacher"):
            return f"{match[1]}{teacher_table(result)}\n{match['end']}"
        if match["name"].endswith("-sweep"):
            make = readme_sweep.points if match["kind"] == "points" else readme_sweep.claims
        else:
            make = best_table if match["name"].startswith("best-") else table
        return f"{match[1]}{make(result)}\n{match['end']}"

    return BLOCK.sub(fresh, text)


def table(result: dict[str, Any]) -> str:
    """A result as a Markdown table: mean, and standard deviation over seeds where there are several."""
    many, beside = result["n"] > 1, result["dataset"] == paper.DATASET
    headings = ["model", "accuracy %", "loss", "MMAC", "fewer than teacher", "ms, batch 1", "ms, batch 64"]
    headings += ["as the paper counts", "paper: %", "paper: MFLOPs"] if beside else []
    lines = [f"| {' | '.join(headings)} |", f"| --- |{' ---: |' * (len(headings) - 1)}"]
    routers = {row["key"]: (row["routing"] or {}).get("router") for row in result["runs"][0]["rows"]}
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
        if beside:
            printed = paper.printed_line(key, routers[key])
            cells.append(f"{row['paper_mflops']['mean']:.3f}")
            cells += ["–", "–"] if printed is None else [f"{100 * printed.accuracy:.2f}", f"{printed.mflops:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    run = result["runs"][0]
    seeds = ", ".join(str(each["seed"]) for each in result["runs"])
    which = "the mean over seeds" if many else "seed"
    deviation = "; ± is the standard deviation over seeds" if many else ""
    own = len({each["data"]["split"] for each in result["runs"]}) > 1
    apart = f", each with its own split and teacher. Seed {run['seed']}'s:" if own else "."
    note = (
        f"{run['data']['test']:,} held-out images, {which} {seeds}{deviation}{apart} {run['data']['split']} "
        f"Measured on {run['device']}, {run['threads']} threads, torch {run['versions']['torch']}, commit "
        f"{result['commit'][:9]}."
    )
    if beside:
        note += (
            " The paper’s figures are of one run on the official test batch after training on all 50,000 images; its "
            "MFLOPs are multiply-adds of one image divided by 64, the router left out; the column before it is ours."
        )
    return "\n".join([*lines, "", note])


def label(text: str, key: str, runs: list[dict[str, Any]]) -> str:
    """A row's label; where runs chose different numbers of students, all of them."""
    chosen = [other["label"] for run in runs for other in run["rows"] if other["key"] == key]
    counts = [found[1] for found in (re.search(r"k=(\d+)", one) for one in chosen) if found]
    return re.sub(r"k=\d+", f"k={', '.join(counts)}", text) if len(set(counts)) > 1 else text


if __name__ == "__main__":
    main()
