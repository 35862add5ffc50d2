"""The README's table of serving, from what benchmarks/serving.py wrote."""

import json
from pathlib import Path
from typing import Any

RUNTIMES = ("PyTorch", "ONNX Runtime", "OpenVINO")
WANTED = 0.15


def serving_table(results: Path) -> str:
    """One line a mixture, runtime and batch: latencies, the ratio of their medians, and what dispatch costs."""
    result = json.loads((results / "serving.json").read_text())
    found = result["results"]
    lines = [
        "| mixture | runtime | batch | teacher ms (p95) | mixture ms (p95) | n | faster | dispatch |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    over = []
    for mixture, measured in found["latency"].items():
        for runtime in RUNTIMES:
            for batch, times in measured.get(runtime, {}).items():
                dispatch = times["dispatch"]["ratio"] - 1
                low, high = (extreme(times["dispatch"]["parts"]) - 1 for extreme in (min, max))
                cells = [mixture, runtime, batch, _latency(times["teacher"]), _latency(times["mixture"])]
                cells += [
                    str(times["mixture"]["n"]),
                    f"{times['teacher']['median_ms'] / times['mixture']['median_ms']:.1f}x",
                ]
                cells.append(f"{dispatch:+.0%} ({low:+.0%} to {high:+.0%})")
                lines.append(f"| {' | '.join(cells)} |")
                if dispatch > WANTED:
                    over.append(f"{mixture}, {runtime}, batch {batch} ({dispatch:+.0%})")
    return "\n".join([*lines, "", " ".join(_notes(result, over))])


def _latency(times: dict[str, float]) -> str:
    return f"{times['median_ms']:.2f} ({times['p95_ms']:.2f})"


def _notes(result: dict[str, Any], over: list[str]) -> list[str]:
    found, settings = result["results"], result["settings"]
    said = [
        f"Untrained networks of CIFAR-10's shape: ResNet-18 against k={settings['k']} of the paper's students (width "
        f"{settings['width']}), every student getting its share of the images.",
        "Latencies, and how much faster the mixture is, are on the clock; the teacher was called an eighth as often.",
        "Dispatch is what the mixture takes longer than its router and one student on the whole batch, not choosing, "
        "in processor time, in brackets over eighths of the n calls; single images are that student's "
        "own, so that both find the same weights in the caches: "
        + (f"above the {WANTED:.0%} wanted with {'; '.join(over)}." if over else f"at most the {WANTED:.0%} wanted."),
    ]
    if found["missing"]:
        said.append(f"Not installed: {', '.join(found['missing'])}.")
    if "agreement" in found:
        agreed = found["agreement"]
        each = [
            f"{name} {agreed[name]['accuracy']:.2%} (PyTorch {agreed[name]['accuracy_pytorch']:.2%}, logits within "
            f"{agreed[name]['logits_difference']:.1e})"
            for name in RUNTIMES[1:]
            if name in agreed
        ]
        said.append(
            f"Accuracy of a trained mixture, {agreed['n']:,} held-out images of {agreed['dataset']}: {', '.join(each)}."
        )
    if found["load"] > 2 * settings["threads"]:
        said.append(
            f"Other work shared the machine (load {found['load']:.0f}), so the latencies are far longer than on a "
            "quiet one; processor times suffer less."
        )
    versions = ", ".join(
        f"{name} {result['versions'][name]}"
        for name in ("torch", "onnxruntime", "openvino")
        if name in result["versions"]
    )
    said.append(
        f"Measured on {result['device']}, {result['threads']} thread{'s' if result['threads'] > 1 else ''}, "
        f"{versions}, commit {result['commit'][:9]}."
    )
    return said
