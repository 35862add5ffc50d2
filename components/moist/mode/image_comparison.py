"""Table 5: what was measured on images beside the MoDE paper, and which of its claims hold."""

from collections.abc import Sequence

from pydantic import Field

from moist.errors import InputError
from moist.frozen import Frozen
from moist.mode.claims import Claim, over_tables, points, verdict
from moist.mode.paper import TABLE_5
from moist.mode.results import ImageResults, best_alpha
from moist.mode.statistics import Paired, Summary

NETWORKS = {"cnn": "two-layer CNN", "resnet18": "ResNet-18"}


class Strength(Frozen):
    """Mixtures at one distillation strength; accuracies 0-1 on the test images."""

    alpha: float
    test: Summary
    difference: Paired = Field(description="to alpha 0, the plain mixture, paired by seed")


class ImageLine(Frozen):
    """One data set of Table 5."""

    images: str
    network: str
    epochs: int
    train: int
    test_images: int
    split: str
    augmentation: str
    paper: bool = Field(description="whether the paper's Table 5 has it")
    seeds: list[int]
    single: Summary
    alpha: float = Field(description="of those trained, the one of best mean accuracy on validation images")
    moe: Summary
    mode: Summary
    moe_over_single: Paired
    mode_over_single: Paired
    difference: Paired = Field(description="mode - moe, paired by seed")
    strengths: list[Strength] = Field(description="every strength, 0 first")


def image_lines(results: Sequence[ImageResults]) -> list[ImageLine]:
    """A line for each data set, alpha chosen on its validation images. Raises InputError for one given twice."""
    names = [one.images for one in results]
    if len(set(names)) < len(names):
        raise InputError(f"The image data sets to compare are {', '.join(names)}: give each once.")
    return [_line(one) for one in results]


def _line(one: ImageResults) -> ImageLine:
    alpha = best_alpha(one.alphas, one.validation, one.alphas)
    columns = {strength: [row[v] for row in one.test] for v, strength in enumerate(one.alphas)}
    moe, mode = columns[0.0], columns[alpha]
    return ImageLine(
        images=one.images,
        network=NETWORKS[one.training["network"]],
        epochs=one.training["epochs"],
        train=one.train,
        test_images=one.test_images,
        split=one.split,
        augmentation=one.augmentation,
        paper=one.images in TABLE_5,
        seeds=one.seeds,
        single=Summary.of(one.single),
        alpha=alpha,
        moe=Summary.of(moe),
        mode=Summary.of(mode),
        moe_over_single=Paired.of(moe, one.single),
        mode_over_single=Paired.of(mode, one.single),
        difference=Paired.of(mode, moe),
        strengths=[
            Strength(alpha=strength, test=Summary.of(values), difference=Paired.of(values, moe))
            for strength, values in columns.items()
        ],
    )


def image_claims(lines: Sequence[ImageLine]) -> list[Claim]:
    """What Table 5 says of MoDE, over all data sets that were learned with the same seeds as the first."""
    alike = [line for line in lines if line.seeds == lines[0].seeds]
    if not alike:
        return []
    where = ", ".join(line.images for line in alike)
    found = []
    for claim, pairs in (
        ("MoDE is more accurate than MoE", [(line.mode, line.moe) for line in alike]),
        ("MoDE is more accurate than one network alone", [(line.mode, line.single) for line in alike]),
    ):
        gain = over_tables(pairs)
        sentence = f"{points(gain)} points on {where}"
        found.append(Claim(claim=f"{claim} (images, Table 5)", here=sentence, verdict=verdict(gain)))
    return found
