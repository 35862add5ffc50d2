"""Table 4 of the MoDE paper on a corpus: python benchmarks/mode_translation.py FOLDER --work DIR [--write].

FOLDER holds train, val and test_2016_flickr as .en.gz and .de.gz (Multi30k). Each translator is trained by the stage
itself, with checkpoints under DIR: the same command goes on after an interruption and skips what is finished. With
--write, what came out goes to benchmarks/results/mode-translation.json.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from moist.mode.results import read_results
from moist.mode.translation_comparison import translation_lines
from moist.mode.translation_results import TranslationResults
from moist.runtime.artifacts import read_manifest
from moist.runtime.contract import CHECKPOINTS
from record import write

MODELS = {"single": ("single", "0"), "moe": ("dense-2", "0"), "mode": ("dense-2", "1")}
OUTPUTS = {"translator": "translator", "results": "results", "translations": "translations", "metrics": "metrics",
           "curves": "curves.html"}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="where translators and checkpoints are kept")
    parser.add_argument("--models", default=",".join(MODELS), help="which to train, in this order")
    parser.add_argument("--languages", default="en,de", help="source and target")
    parser.add_argument("--vocabulary", default="12000")
    parser.add_argument("--feed-forward", default="512")
    parser.add_argument("--batch-tokens", default="640")
    parser.add_argument("--epochs", default="7")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    names = options.models.split(",")
    for name in names:
        train(name, options)
    folders = [options.work / name / "results" for name in names]
    found = [read_results(TranslationResults, folder) for folder in folders]
    for one in found:
        print(
            f"{one.variant}: {one.test_bleu:.2f} BLEU, {one.parameters / 1e6:.1f} million parameters, {one.signature}"
        )
    if options.write:
        manifests = [read_manifest(folder, "results") for folder in folders]
        results = {
            "lines": [line.model_dump() for line in translation_lines(found)],
            "translators": {
                name: {**one.model_dump(), "code": manifest.code_version, "versions": manifest.versions,
                       "machine": manifest.machine, "device": manifest.device, "threads": manifest.threads}
                for name, one, manifest in zip(names, found, manifests, strict=True)
            },
        }  # fmt: skip
        print(write("mode-translation", results, {"corpus": "Multi30k", **vars(options), "folder": "", "work": ""}))


def train(name: str, options: argparse.Namespace) -> None:
    """One translator, unless it is there."""
    home = options.work / name
    if (home / "results").exists():
        return
    model, alpha = MODELS[name]
    source, target = options.languages.split(",")
    settings = {"model": model, "alpha": alpha, "seed": options.seed, "epochs": options.epochs}
    settings |= {"vocabulary": options.vocabulary, "feed-forward": options.feed_forward}
    settings |= {"batch-tokens": options.batch_tokens, "checkpoint-seconds": "120"}
    for prefix, part in (("", "train"), ("validation-", "val"), ("test-", "test_2016_flickr")):
        settings[f"{prefix}source"] = str(options.folder / f"{part}.{source}.gz")
        settings[f"{prefix}target"] = str(options.folder / f"{part}.{target}.gz")
    settings |= {output: str(home / file) for output, file in OUTPUTS.items()}
    flags = [part for setting, value in settings.items() for part in (f"--{setting}", value)]
    environment = {CHECKPOINTS: str(options.work / "checkpoints"), **os.environ}
    program = [sys.executable, "-m", "moist.stages.train_translator.program"]
    subprocess.run([*program, *flags], env=environment, check=True)


if __name__ == "__main__":
    main()
