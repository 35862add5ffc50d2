"""Table 5 of the MoDE paper on one image data set: python benchmarks/mode_vision.py mnist FOLDER [--write].

One expert alone, MoE and MoDE with the same seeds; alpha is chosen on validation images. With --write, what came out
goes to benchmarks/results/mode-vision-NAME.json; n is the number of seeds. With --parts FOLDER each seed's results are
kept there and not made again, so that a long run can be made in pieces: --runs 1, --runs 2 and so on.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from moist.data.dataset import ImageDataset
from moist.data.sources import NAMES, prepare
from moist.mode.results import ImageResults, best_alpha
from moist.mode.statistics import Paired, Summary
from moist.mode.vision import VisionTraining
from moist.mode.vision_experiment import table_5
from moist.training.precision import choose_device
from record import write

LISTS = {"seeds", "single", "test", "validation"}
"""What has one entry a seed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("source", nargs="?", help="official files; digits are bundled")
    parser.add_argument("--runs", type=int, default=3, help="seeds, from 0")
    parser.add_argument("--alphas", type=float, nargs="+", default=[0.1, 1.0, 10.0], help="to choose from")
    parser.add_argument("--network", choices=("cnn", "resnet18"), default="cnn")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--train-limit", type=int, default=0, help="0: all")
    parser.add_argument("--test-limit", type=int, default=0, help="0: all")
    parser.add_argument("--validation-fraction", type=float, default=0.1)
    parser.add_argument("--augmentation", default="none", help="as prepare_data takes it")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    parser.add_argument("--parts", type=Path, help="folder that keeps each seed's results")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as cache:
        data = prepare(
            options.name,
            options.source,
            seed=0,
            validation_fraction=options.validation_fraction,
            test_fraction=0.2,
            train_limit=options.train_limit,
            test_limit=options.test_limit,
            augmentation=options.augmentation,
            cache=Path(cache),
        )
    named = ("network", "epochs", "batch_size", "learning_rate")
    settings = VisionTraining(**{name: getattr(options, name) for name in named})
    results = joined([one_seed(data, settings, options.alphas, seed, options.parts) for seed in range(options.runs)])
    alpha = best_alpha(results.alphas, results.validation, options.alphas)
    columns = {strength: [row[v] for row in results.test] for v, strength in enumerate(results.alphas)}
    for what, values in {"single": results.single, "MoE": columns[0.0], f"MoDE {alpha:g}": columns[alpha]}.items():
        print(what, Summary.of(values))
    print("MoDE - MoE", Paired.of(columns[alpha], columns[0.0]))
    if options.write:
        chosen = {**vars(options), "source": "official files" if options.source else "bundled"}
        chosen.pop("parts")
        print(write(f"mode-vision-{options.name}", {"n": options.runs, **results.model_dump()}, chosen))


def one_seed(
    data: ImageDataset, settings: VisionTraining, alphas: list[float], seed: int, parts: Path | None
) -> ImageResults:
    """Train with one seed, or read what an earlier call kept."""
    kept = None if parts is None else parts / f"{data.name}-{seed}.json"
    if kept is not None and kept.exists():
        return ImageResults.model_validate_json(kept.read_bytes())
    results, _ = table_5(data, settings, alphas, [seed], choose_device())
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(results.model_dump_json())
    return results


def joined(parts: list[ImageResults]) -> ImageResults:
    """Results of one seed each as one; they must come from the same data and settings."""
    first = parts[0]
    own = {"seeds", "single", "test", "validation", "probes", "curves", "seconds"}
    if any(part.model_dump(mode="json", exclude=own) != first.model_dump(mode="json", exclude=own) for part in parts):
        raise SystemExit("the kept parts come from other settings or data: remove them")
    return first.model_copy(
        update={
            **{name: [value for part in parts for value in getattr(part, name)] for name in LISTS},
            "probes": [[part.probes[v][0] for part in parts] for v in range(len(first.alphas))],
            "seconds": sum(part.seconds for part in parts),
        }
    )


if __name__ == "__main__":
    main()
