"""The table of a recorded teacher, for the documents that `make results` rewrites."""

from typing import Any


def teacher_table(result: dict[str, Any]) -> str:
    """What benchmarks/keep_teacher.py wrote: figures on the held-out images, and how it came there."""
    found, settings = result["results"], result["settings"]
    series = found["series"]
    lines = ["| epoch | training accuracy % | validation accuracy % |", "| ---: | ---: | ---: |"]
    epochs = len(series["accuracy"])
    for epoch in sorted({1, *range(4, epochs, 4), *range(epochs - 4, epochs + 1)}):
        both = (100 * series[name][epoch - 1] for name in ("accuracy", "validation_accuracy"))
        lines.append(f"| {epoch} | {' | '.join(f'{value:.1f}' for value in both)} |")
    note = (
        f"**{100 * found['accuracy']:.2f}%** of the {settings['test']:,} held-out images, loss {found['loss']:.4f} "
        f"(the paper's teacher: 83.80%, 0.4910). {settings['data']} Learning rate {settings['learning_rate']:g}, "
        f"weight decay {settings['weight_decay']:g}, batch {settings['batch_size']}, {settings['epochs']} epochs, "
        f"reduced {settings['reduced']:g}, cutout {settings.get('cutout', 0)}, seed {settings['seed']}. Measured on "
        f"{result['device']}, torch {result['versions']['torch']}, commit {result['commit'][:9]}."
    )
    return "\n".join([*lines, "", note])
