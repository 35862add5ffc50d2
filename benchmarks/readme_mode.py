"""The README's tables of MoDE, from benchmarks/results/: the paper's figures stand beside those measured here."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moist.mode.claims import points
from moist.mode.comparison import TOLERANCE
from moist.mode.image_comparison import NETWORKS
from moist.mode.paper import TABLE_3, TABLE_5, TABLE_6, TABLE_7
from moist.mode.probing import Probe
from moist.mode.results import ImageResults, best_alpha
from moist.mode.statistics import Paired, Summary


def tables(results: Path) -> str:
    """Table 3: here and, in italics, the paper's means."""
    record = read(results, "mode-tables")
    found = record["results"]
    lines = [
        "| table | single | dense MoE | dense MoDE | MoDE − MoE | sparse MoE | sparse MoDE | MoDE − MoE |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in found["table_3"]["rows"]:
        cells = [row["table"], spread(row["single"])]
        for gate in ("dense", "sparse"):
            cells += [spread(row[gate]["moe"]), spread(row[gate]["mode"]), gain(row[gate]["difference"])]
        lines.append(f"| {' | '.join(cells)} |")
        printed = TABLE_3[{"isolet1": "isolet"}.get(row["table"], row["table"])]
        cells = ["_paper_", *(f"_{100 * mean:.2f}_" for mean, _ in printed[:3]), difference(printed[1], printed[2])]
        cells += [*(f"_{100 * mean:.2f}_" for mean, _ in printed[3:]), difference(printed[3], printed[4])]
        lines.append(f"| {' | '.join(cells)} |")
    dense, sparse = (gain(found["table_3"][f"{gate}_difference"]) for gate in ("dense", "sparse"))
    lines.append(f"| all | | | | {dense} | | | {sparse} |")
    note = (
        f"Test accuracy in percent, mean ± standard deviation of {found['n']} runs; differences in points, paired by "
        "seed, with 95% intervals. isolet1 is one of Isolet's five parts: the paper's row is of all five. "
        f"{found['table_3_seconds']:.0f} s in all. {measured(record)}"
    )
    return "\n".join([*lines, "", note, "", " ".join(holding(results, found["table_3"]["rows"]))])


def holding(results: Path, rows: list[dict[str, Any]]) -> list[str]:
    """What Table 3 shows and what it does not, in sentences."""
    said = []
    for gate in ("dense", "sparse"):
        settled = [row["table"] for row in rows if row[gate]["difference"]["low"] > 0]
        rest = [row["table"] for row in rows if row["table"] not in settled]
        said.append(f"Under a {gate} gate MoDE's gain is clear of 0 on {', '.join(settled)}, not on {', '.join(rest)}.")
    plain = {
        gate: [row["table"] for row in rows if row[gate]["moe"]["mean"] > row["single"]["mean"]]
        for gate in ("dense", "sparse")
    }
    said.append(
        f"The plain mixture's mean is above one expert's on {', '.join(plain['dense'])} (dense) and "
        f"{', '.join(plain['sparse'])} (sparse)."
    )
    far = []
    for row in rows:
        ours = [row["single"], *(row[gate][kind] for gate in ("dense", "sparse") for kind in ("moe", "mode"))]
        printed = TABLE_3.get(row["table"], ())
        names = ("single", "dense MoE", "dense MoDE", "sparse MoE", "sparse MoDE")
        for name, one, (paper, _) in zip(names, ours, printed, strict=False):
            if abs(one["mean"] - paper) > TOLERANCE:
                far.append(f"{row['table']} {name} ({100 * (one['mean'] - paper):+.2f})")
    but = f" but {', '.join(far)}" if far else ""
    said.append(f"Means are within 1.5 points of the paper's{but}.")
    slower = results / "mode-tables-satimage-lr1e-3.json"
    if slower.exists():
        other = json.loads(slower.read_text())
        rate, (row,) = other["settings"]["learning_rate"], other["results"]["table_3"]["rows"]
        away = 100 * (row["single"]["mean"] - TABLE_3[row["table"]].single[0])
        said.append(
            f"The cause is the learning rate, chosen on validation rows: at {rate:g} {row['table']}'s single expert "
            f"reaches {spread(row['single'])} ({away:+.2f})."
        )
    return said


def analysis(results: Path) -> str:
    """Table 7, Fig 4 and Table 6 of the table that was analysed."""
    record = read(results, "mode-tables")
    found = record["results"]
    name = found["analysed"]
    lines = [
        "| experts (Table 7) | MoE | MoDE | MoDE − MoE | _paper: MoE, MoDE_ |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for one in found["table_7"]["rows"][name]:
        moe, mode = TABLE_7[name][one["model"]["experts"]]
        cells = [str(one["model"]["experts"]), spread(one["moe"]), spread(one["mode"]), gain(one["difference"])]
        lines.append(f"| {' | '.join(cells)} | _{100 * moe[0]:.2f}, {100 * mode[0]:.2f}_ |")
    alphas = found["figure_4"]["points"]
    cells = [f"{one['alpha']:g}" for one in alphas]
    lines += ["", f"| α (Fig. 4) | {' | '.join(cells)} |", f"| --- |{' ---: |' * len(alphas)}"]
    cells = [spread(one["test"]) for one in alphas]
    lines.append(f"| accuracy | {' | '.join(cells)} |")
    cells = [gain(one["difference"]) if one["alpha"] else "" for one in alphas]
    lines += [f"| to α = 0 | {' | '.join(cells)} |", ""]
    columns = found["table_6"]["columns"]
    headings = [f"α = {column['alpha']:g} | _paper_" for column in columns]
    lines += [f"| expert probing (Table 6) | {' | '.join(headings)} |", f"| --- |{' ---: |' * 2 * len(columns)}"]
    probed = [[Probe.model_validate(probe) for probe in column["probes"]] for column in columns]
    printed = [TABLE_6[column["alpha"]] for column in columns]
    for label, percent in (
        ("accuracy", "accuracy"),
        ("gate masked", "masked_accuracy"),
        ("recognition", "recognition_accuracy"),
        ("inclination", "inclination"),
        ("consistency", "consistency"),
    ):
        cells = [
            f"{100 * mean(probes, percent):.2f} | _{100 * getattr(paper, percent):.2f}_"
            for probes, paper in zip(probed, printed, strict=True)
        ]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    for label, count in (("type 1 errors", "type_1_errors"), ("type 2 errors", "type_2_errors")):
        papers = [
            400 - paper.recognisable if count == "type_1_errors" else paper.recognisable - paper.recognised
            for paper in printed
        ]
        cells = [f"{mean(probes, count):.1f} | _{paper}_" for probes, paper in zip(probed, papers, strict=True)]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    note = f"{name}, {found['n']} runs, of {probed[0][0].inputs} test rows each; the paper's Table 6 is of one run."
    return "\n".join([*lines, "", note])


def images(results: Path) -> str:
    """Table 5 from every mode-vision file."""
    lines = [
        "| images | network | single | MoE | MoDE | α | MoE − single | MoDE − MoE |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    notes, record = [], {}
    for path in sorted(results.glob("mode-vision-*.json")):
        record = json.loads(path.read_text())
        found = ImageResults.model_validate({k: v for k, v in record["results"].items() if k != "n"})
        alpha = best_alpha(found.alphas, found.validation, found.alphas)
        columns = {strength: [row[v] for row in found.test] for v, strength in enumerate(found.alphas)}
        moe, mode = columns[0.0], columns[alpha]
        cells = [found.images, NETWORKS[found.training["network"]]]
        cells += [spread(Summary.of(values).model_dump()) for values in (found.single, moe, mode)]
        cells += [f"{alpha:g}", points(Paired.of(moe, found.single)), points(Paired.of(mode, moe))]
        lines.append(f"| {' | '.join(cells)} |")
        single, *mixed = (f"_{100 * value:.2f}_" for value in TABLE_5[found.images])
        lines.append(f"| _paper_ | | {' | '.join([single, *mixed])} | _10_ | | |")
        offered = ", ".join(f"{each:g}" for each in found.alphas if each)
        others = "; ".join(
            f"α {each:g} {points(Paired.of(values, moe))}"
            for each, values in columns.items()
            if each not in (0.0, alpha)
        )
        notes.append(
            f"{found.images}: {found.training['epochs']} epochs, {len(found.seeds)} seed"
            f"{'s' if len(found.seeds) > 1 else ''}, augmentation {found.augmentation}, α of {offered} by validation "
            f"images{f' (MoDE − MoE at the others: {others})' if others else ''}. {found.split}"
        )
    return "\n".join([*lines, "", " ".join([*notes, measured(record)])])


def speed(results: Path) -> str:
    """What the batched trainer and the sparse gate save."""
    batched, gate = read(results, "mode_batched"), read(results, "mode_sparse_gate")
    lines = ["| | times faster | of n | milliseconds |", "| --- | ---: | ---: | ---: |"]
    what = [(f"one batched model against a loop: {name}", one) for name, one in batched["results"].items()]
    named = {
        "all_experts": "top-2 of 10 experts against all 10",
        "mixture_of_experts": "the same against PyPI's mixture-of-experts",
    }
    what += [(named[name], one) for name, one in gate["results"].items()]
    for name, one in what:
        spent = f"{1e3 * one['slow_seconds_median']:.0f} → {1e3 * one['fast_seconds_median']:.0f}"
        between = f"{one['ratio_median']:.1f} ({one['ratio_min']:.1f} to {one['ratio_max']:.1f})"
        lines.append(f"| {name} | {between} | {one['n']} | {spent} |")
    return "\n".join([*lines, "", f"Median (least to largest) of paired timings, both in turn. {measured(batched)}"])


MAKERS: dict[str, Callable[[Path], str]] = {
    "mode-tables": tables,
    "mode-analysis": analysis,
    "mode-images": images,
    "mode-speed": speed,
}


def read(results: Path, name: str) -> dict[str, Any]:
    """A record as mode_record.write left it."""
    record: dict[str, Any] = json.loads((results / f"{name}.json").read_text())
    return record


def measured(record: dict[str, Any]) -> str:
    """Where a record comes from."""
    return (
        f"Measured on {record['device']}, {record['threads']} thread{'s' if record['threads'] > 1 else ''}, torch "
        f"{record['versions']['torch']}, commit {record['commit'][:9]}."
    )


def spread(summary: dict[str, Any]) -> str:
    """An accuracy in percent."""
    return f"{100 * summary['mean']:.2f}" + ("" if summary["std"] is None else f" ± {100 * summary['std']:.2f}")


def gain(paired: dict[str, Any]) -> str:
    """A difference in points."""
    return points(Paired.model_validate(paired))


def difference(moe: tuple[float, float], mode: tuple[float, float]) -> str:
    """The paper's, which has no interval."""
    return f"_{100 * (mode[0] - moe[0]):+.2f}_"


def mean(probes: list[Probe], name: str) -> float:
    """Over runs."""
    values: list[float] = [value for probe in probes if (value := getattr(probe, name)) is not None]
    return sum(values) / len(values)
