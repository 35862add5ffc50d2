"""The README's table of translation, from benchmarks/results/mode-translation.json."""

from typing import Any


def translation_table(record: dict[str, Any]) -> str:
    """Table 4 here as Markdown: a row a translator, and what was measured how."""
    lines = [
        "| translator | parameters | BLEU, test | BLEU, validation |",
        "| --- | ---: | ---: | ---: |",
    ]
    labels = {"single": "Transformer", "moe": "MoE", "mode": "MoDE"}
    translators = record["results"]["translators"]
    for name, one in translators.items():
        alpha = f", alpha {one['alpha']:g}" if one["alpha"] else ""
        experts = f", {one['experts']} experts{alpha}" if one["experts"] > 1 else ""
        cells = [
            f"{labels[name]}{experts}",
            f"{one['parameters'] / 1e6:.1f} million",
            f"{one['test_bleu']:.2f}",
            f"{one['validation_bleu']:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    one = next(iter(translators.values()))
    training, pairs = one["training"], one["pairs"]
    note = (
        f"{record['settings']['corpus']}, {one['corpus']}: {pairs['train']:,} training, {pairs['validation']:,} "
        f"validation and {pairs['test']:,} test pairs, {training['epochs']} epochs, seed {training['seed']}, one run "
        f"each, which settles no difference. BLEU by sacrebleu, {one['signature']}, beam {one['search']['beam']:g}. "
        f"Trained on "
        f"{one['machine']}, {one['threads']} thread, torch {one['versions']['torch']}, code {one['code']}."
    )
    return "\n".join([*lines, "", note])
