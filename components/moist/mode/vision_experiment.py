"""Table 5 of the MoDE paper on one image data set: one expert alone, and a mixture at every distillation strength."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from moist.data.dataset import Augmentation, ImageDataset
from moist.errors import InputError
from moist.mode.probing import Probe
from moist.mode.results import ImageResults, best_alpha
from moist.mode.vision import ImageMixture, VisionTraining, build_image_mixture, probe_images, train_images
from moist.training.loop import Checkpoints
from moist.training.precision import placed


def table_5(
    data: ImageDataset,
    settings: VisionTraining,
    alphas: Sequence[float],
    seeds: Sequence[int],
    device: torch.device,
    say: Callable[[str], object] = sys.stderr.write,
    checkpoints: Checkpoints | None = None,
) -> tuple[ImageResults, ImageMixture]:
    """Train one expert alone, MoE (alpha 0) and MoDE (each of `alphas`), all with the same seeds, and probe them.

    Also gives the MoDE of the first seed at the alpha that validation prefers, in evaluation mode. `say` is told of
    each network, a line each. `checkpoints` keep what is known of the networks that are trained: a run that goes on
    trains the others.

    Raises:
        InputError: no seeds or alphas, an alpha that is not above 0, or several without validation images.
        DivergedError: for a loss that is not finite.
    """
    if not seeds or not alphas or not all(alpha > 0 for alpha in alphas):
        raise InputError(
            f"seeds are {list(seeds)} and alphas {list(alphas)}: give at least one of each, and alphas above 0."
        )
    if len(alphas) > 1 and not len(data.validation):
        raise InputError(
            f"{len(alphas)} alphas are to be chosen from, but {data.name} has no validation images: set "
            "validation_fraction above 0, or give one alpha."
        )
    strengths = [0.0, *alphas]
    state = checkpoints.load() if checkpoints else None
    done: dict[str, Any] = state["networks"] if state else {}
    curves: dict[str, list[float]] = {}

    def trained(used: VisionTraining, alpha: float, seed: int, what: str) -> tuple[Probe, float | None]:
        """The probe on the test images, and the accuracy on the validation images."""
        name = f"{what}, seed {seed}"
        if name not in done:
            start = time.monotonic()
            model, history = train_images(data, used, alpha, seed, device)
            probe = probe_images(model, data, data.test, used)
            validation = probe_images(model, data, data.validation, used).accuracy if len(data.validation) else None
            done[name] = {
                "probe": probe.model_dump(),
                "validation": validation,
                "curve": history.series["accuracy"],
                "weights": model.state_dict() if seed == seeds[0] and alpha else None,
                "seconds": time.monotonic() - start,
            }
            say(f"{what} on {data.name}, seed {seed}: {100 * probe.accuracy:.2f}%, {done[name]['seconds']:.0f} s\n")
            finished = len(done) == len(seeds) * (len(strengths) + 1)
            if checkpoints and checkpoints.due(finished):
                checkpoints.save({"epoch": len(done), "step": 0, "networks": done, "finished": finished})
        if seed == seeds[0]:
            curves["single_accuracy" if used.experts == 1 else f"alpha_{alpha:g}_accuracy"] = done[name]["curve"]
        return Probe.model_validate(done[name]["probe"]), done[name]["validation"]

    one_expert = settings.model_copy(update={"experts": 1})
    alone, mixed = [], []
    for seed in seeds:
        alone.append(trained(one_expert, 0.0, seed, "one expert"))
        mixed.append([trained(settings, alpha, seed, _mixture(alpha)) for alpha in strengths])
    results = ImageResults(
        images=data.name,
        classes=len(data.classes),
        shape=data.shape,
        train=len(data.train),
        validation_images=len(data.validation),
        test_images=len(data.test),
        split=data.split_note,
        augmentation=_said(data.augmentation),
        training=settings.model_dump(),
        seeds=list(seeds),
        alphas=strengths,
        single=[probe.accuracy for probe, _ in alone],
        test=[[probe.accuracy for probe, _ in row] for row in mixed],
        validation=[[found for _, found in row] for row in mixed],
        probes=[[row[v][0] for row in mixed] for v in range(len(strengths))],
        curves=curves,
        seconds=round(sum(found["seconds"] for found in done.values()), 3),
    )
    best = best_alpha(strengths, results.validation, alphas)
    with torch.random.fork_rng():
        model = placed(build_image_mixture(settings, data.shape, len(data.classes)), device)
    model.load_state_dict(done[f"{_mixture(best)}, seed {seeds[0]}"]["weights"])
    return results, model.eval()


def _mixture(alpha: float) -> str:
    return f"mixture, alpha {alpha!r}"


def _said(augmentation: Augmentation) -> str:
    shift = [f"shift by up to {augmentation.padding} pixels"] if augmentation.padding else []
    return ", ".join([*shift, *(["flip"] if augmentation.flip else [])]) or "none"
