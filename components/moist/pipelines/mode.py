"""MoDE as a Kubeflow pipeline: tables, mixtures, image data sets and translators in loops, then one comparison."""

from collections.abc import Mapping
from typing import Any

from kfp import dsl

from moist.errors import InputError
from moist.runtime.kubeflow import Images
from moist.runtime.scheduling import TOLERATIONS, Training, on_cpu, on_gpu
from moist.stages.compare.component import compare
from moist.stages.prepare_data.component import prepare_data
from moist.stages.prepare_table.component import prepare_table
from moist.stages.probe_experts.component import probe_experts
from moist.stages.train_mixture.component import train_mixture
from moist.stages.train_translator.component import train_translator
from moist.stages.train_vision_mixture.component import train_vision_mixture

DEFAULT_IMAGES = Images()
TWO = "0, 0.01, 0.1"
"""The plain mixture, and the two strengths that the paper uses on tables."""

WIDE = "0, 0.001, 0.01, 0.1, 1, 10, 100"
"""Those of Fig 4, which holds those of Tables 3 and 6 and of Figs 1 and 3 too."""


def variant(model: str, alphas: str = TWO, narrow_vision: str = "skip") -> dict[str, str]:
    """One item of the loop over mixtures; text only, since kfp takes every field of a loop's item for text."""
    return {"model": model, "alphas": alphas, "narrow_vision": narrow_vision}


def image_set(name: str, source: str = "bundled") -> dict[str, str]:
    """One item of the loop over image data sets, as prepare_data takes it; a field `name` would be kfp's own."""
    return {"dataset": name, "source": source}


def translator(model: str, alpha: str = "0") -> dict[str, str]:
    """One item of the loop over translators."""
    return {"model": model, "alpha": alpha}


VARIANTS = [
    variant("dense-2", WIDE, "measure"),
    variant("sparse-10-2"),
    variant("dense-8"),
    variant("dense-4"),
    variant("single", "0"),
]
"""Table 3's five columns, Table 7's three numbers of experts, and Fig 4; the slowest first, so that none is last."""

IMAGES = [image_set("digits")]
TRANSLATORS = [translator("dense-2", "1"), translator("dense-2"), translator("single")]
"""Table 4's three columns."""

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "runs": 2,
        "epochs": 2,
        "image_runs": 2,
        "image_epochs": 1,
        "image_alphas": "0.1",
        "variants": [
            variant("dense-2", "0, 0.01, 100", "measure"),
            variant("sparse-10-2", "0, 0.01"),
            variant("single", "0"),
        ],
    },
    "quick": {},
    "paper": {
        "tables": [
            "isolet",
            "mfeat-karhunen",
            "mfeat-factors",
            "optdigits",
            "satimage",
            "first-order-theorem-proving",
            "artificial-characters",
        ],
        "images": [image_set(name, "download") for name in ("mnist", "fashion-mnist", "cifar10", "cifar100")],
        "image_runs": 10,
        "image_epochs": 20,
        "image_augmentation": "auto",
        "image_alphas": "10",
    },
}
"""Named sets of arguments; what one does not name keeps the pipeline's default."""


def preset_arguments(preset: str) -> dict[str, Any]:
    """The arguments of a preset. Raises InputError for an unknown one."""
    if preset not in PRESETS:
        raise InputError(f"The mode pipeline has no preset {preset!r}; it has {', '.join(PRESETS)}.")
    return PRESETS[preset]


def pipeline_for(images: Images, given: Mapping[str, Any]) -> Any:
    """The pipeline: with translation if both of its files are given, without images if their list is empty.

    Raises:
        InputError: for one file alone.
    """
    files = [bool(given.get(name)) for name in ("text_source", "text_target")]
    if any(files) and not all(files):
        raise InputError("--text-source and --text-target go together: name two files of one sentence a line each.")
    return mode_pipeline(images, translation=all(files), pictures=given.get("images") != [])


def mode_pipeline(images: Images = DEFAULT_IMAGES, translation: bool = False, pictures: bool = True) -> Any:
    """The MoDE DAG: each table's mixtures, trained for all seeds and strengths at once, and their experts probed.

    With `translation` also translators, on the files that the arguments text_... name; with `pictures` also mixtures on
    the data sets that the argument images names.
    """

    @dsl.pipeline(name="mode", description="Mixtures of experts with mutual distillation, beside the paper.")  # type: ignore[untyped-decorator]
    def mode(
        tables: list[str] = ["digits"],  # noqa: B006 - kfp reads defaults, it never changes them
        target: str = "",
        variants: list[dict[str, str]] = VARIANTS,
        runs: int = 10,
        seed: int = 0,
        epochs: int = 60,
        batch_size: int = 64,
        hidden: int = 16,
        optimizer: str = "adam",
        learning_rate: float = 5e-3,
        weight_decay: float = 0.0,
        scaling: str = "standard",
        space: str = "logits",
        balance: float = 0.0,
        candidates: str = "0.01, 0.1",
        shown: str = "0, 0.01, 100",
        images: list[dict[str, str]] = IMAGES,
        image_train_limit: int = 0,
        image_test_limit: int = 0,
        image_augmentation: str = "none",
        image_network: str = "auto",
        image_runs: int = 3,
        image_epochs: int = 6,
        image_batch_size: int = 64,
        image_learning_rate: float = 2e-3,
        image_alphas: str = "0.1, 1, 10",
        image_space: str = "embeddings",
        text_source: str = "",
        text_target: str = "",
        text_validation_source: str = "",
        text_validation_target: str = "",
        text_test_source: str = "",
        text_test_target: str = "",
        translators: list[dict[str, str]] = TRANSLATORS,
        text_vocabulary: int = 8000,
        text_width: int = 256,
        text_feed_forward: int = 1024,
        text_layers: int = 2,
        text_epochs: int = 8,
        text_batch_tokens: int = 1024,
        text_learning_rate: float = 1e-3,
        gpu_type: str = "nvidia.com/gpu",
        gpu_count: str = "1",
        train_cpu: str = "4",
        train_memory: str = "16G",
        node_selector: dict[str, str] = {},  # noqa: B006 - kfp reads defaults, it never changes them
        tolerations: list[dict[str, str]] = TOLERATIONS,
    ) -> None:
        training = Training(gpu_type, gpu_count, train_cpu, train_memory, node_selector, tolerations)
        with dsl.ParallelFor(items=tables, name="tables") as source:
            table = prepare_table(source=source, target=target)
            on_cpu(table, "Prepare table")
            with dsl.ParallelFor(items=variants, name="variants") as one:
                trained = train_mixture(
                    model=one.model,
                    alphas=one.alphas,
                    narrow_vision=one.narrow_vision,
                    runs=runs,
                    seed=seed,
                    epochs=epochs,
                    batch_size=batch_size,
                    hidden=hidden,
                    optimizer=optimizer,
                    learning_rate=learning_rate,
                    weight_decay=weight_decay,
                    scaling=scaling,
                    space=space,
                    balance=balance,
                    table=table.outputs["table"],
                )
                on_cpu(trained, "Train mixtures")
            probed = probe_experts(table=table.outputs["table"], mixtures=dsl.Collected(trained.outputs["mixtures"]))
            on_cpu(probed, "Probe experts")
        more = {}
        if pictures:
            with dsl.ParallelFor(items=images, name="images") as picture:
                data = prepare_data(
                    name=picture.dataset,
                    source=picture.source,
                    seed=seed,
                    train_limit=image_train_limit,
                    test_limit=image_test_limit,
                    augmentation=image_augmentation,
                )
                on_cpu(data, "Prepare images")
                learned = train_vision_mixture(
                    network=image_network,
                    alphas=image_alphas,
                    runs=image_runs,
                    seed=seed,
                    epochs=image_epochs,
                    batch_size=image_batch_size,
                    learning_rate=image_learning_rate,
                    space=image_space,
                    dataset=data.outputs["dataset"],
                )
                on_gpu(learned, "Train mixtures on images", training)
            more["images"] = dsl.Collected(learned.outputs["results"])
        if translation:
            with dsl.ParallelFor(items=translators, name="translators") as each:
                translates = train_translator(
                    model=each.model,
                    alpha=each.alpha,
                    source=text_source,
                    target=text_target,
                    validation_source=text_validation_source,
                    validation_target=text_validation_target,
                    test_source=text_test_source,
                    test_target=text_test_target,
                    vocabulary=text_vocabulary,
                    width=text_width,
                    feed_forward=text_feed_forward,
                    layers=text_layers,
                    epochs=text_epochs,
                    batch_tokens=text_batch_tokens,
                    learning_rate=text_learning_rate,
                    seed=seed,
                )
                on_gpu(translates, "Train translator", training)
            more["translations"] = dsl.Collected(translates.outputs["results"])
        compared = compare(
            candidates=candidates,
            shown=shown,
            tables=dsl.Collected(probed.outputs["results"]),
            **more,
        )
        on_cpu(compared, "Compare with the paper")

    return images.use_in(mode)
