"""The tables of teachers and of how they learn, for the documents that `make results` rewrites."""

from typing import Any

NAMES = {"sgd": "SGD", "adamw": "AdamW", "muon": "Muon"}


def teacher_table(result: dict[str, Any]) -> str:
    """What benchmarks/keep_teacher.py wrote: figures on the held-out images, and how it came there."""
    found, settings = result["results"], result["settings"]
    series = found["series"]
    lines = ["| epoch | training accuracy % | validation accuracy % |", "| ---: | ---: | ---: |"]
    epochs = len(series["accuracy"])
    for epoch in sorted({1, *range(4, epochs, 4), *range(epochs - 4, epochs + 1)}):
        both = (100 * series[name][epoch - 1] for name in ("accuracy", "validation_accuracy"))
        lines.append(f"| {epoch} | {' | '.join(f'{value:.1f}' for value in both)} |")
    mirrored = found.get("accuracy_with_mirrored")
    more = f"; together with its answers to the mirrored images {100 * mirrored:.2f}%" if mirrored else ""
    note = (
        f"**{100 * found['accuracy']:.2f}%** of the {settings['test']:,} held-out images, loss {found['loss']:.4f} "
        f"(the paper's teacher: 83.80%, 0.4910){more}. {settings['data']} {NAMES[settings['optimizer']]}, "
        f"learning rate {settings['learning_rate']:g}, "
        f"weight decay {settings['weight_decay']:g}, batch {settings['batch_size']}, {settings['epochs']} epochs, "
        f"reduced {settings['reduced']:g}, cutout {settings.get('cutout', 0)}, label smoothing "
        f"{settings.get('label_smoothing', 0):g}, seed {settings['seed']}. Measured on "
        f"{result['device']}, torch {result['versions']['torch']}, commit {result['commit'][:9]}."
    )
    return "\n".join([*lines, "", note])


def recipes_table(result: dict[str, Any]) -> str:
    """What benchmarks/teacher_recipes.py wrote: a line a recipe."""
    lines = [
        "| recipe | learning rate | batch | training accuracy % | accuracy % | with mirrored images % |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    settings = result["settings"]
    for name, found in result["results"]["recipes"].items():
        shares = (found["training_accuracy"], found["accuracy"], found["mirrored"])
        cells = [name, f"{found['learning_rate']:g}", str(found["batch_size"])]
        lines.append(f"| {' | '.join([*cells, *(f'{100 * share:.2f}' for share in shares)])} |")
    note = (
        f"{settings['epochs']} epochs, seed {settings['seed']}, one run each; on 6,000 images a difference has a "
        f"standard error of about 0.4 points. {settings['split']} Of the training images 33,000 were learned from, and "
        f"6,000 others judged; no held-out image was looked at. Measured on {result['device']}, torch "
        f"{result['versions']['torch']}, commit {result['commit'][:9]}."
    )
    return "\n".join([*lines, "", note])
