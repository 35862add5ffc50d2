"""Table 4: what was measured on translation beside the MoDE paper, and what it says of the paper's claims."""

from collections.abc import Sequence

from pydantic import Field

from moist.errors import InputError
from moist.frozen import Frozen
from moist.mode.claims import Claim, verdict
from moist.mode.statistics import Paired, Summary
from moist.mode.translation_results import TranslationResults


class TranslationLine(Frozen):
    """One corpus; BLEU of the test translations, 0-100."""

    corpus: str
    seeds: list[int]
    single: Summary | None = Field(description="None where it was not trained")
    moe: Summary | None
    mode: Summary | None
    alpha: float | None = Field(description="MoDE's distillation strength, of those trained the best in validation")
    difference: Paired | None = Field(description="mode - moe, paired by seed")
    parameters: dict[str, int] = Field(description="by column: single, MoE, MoDE")
    pairs: dict[str, int] = Field(description="sentence pairs for train, validation and test")
    epochs: int
    search: dict[str, float]
    signature: str


def translation_lines(results: Sequence[TranslationResults]) -> list[TranslationLine]:
    """A line for each corpus.

    Raises InputError for two translators of one column and seed, and for seeds or epochs that differ within a corpus.
    """
    return [
        _line([one for one in results if one.corpus == corpus])
        for corpus in dict.fromkeys(one.corpus for one in results)
    ]


def _line(results: Sequence[TranslationResults]) -> TranslationLine:
    corpus = results[0].corpus
    by_seed: dict[tuple[str, float], dict[int, TranslationResults]] = {}
    for one in results:
        found = by_seed.setdefault((one.variant, one.alpha), {})
        if found.setdefault(one.training["seed"], one) is not one:
            raise InputError(
                f"Two translators of {corpus} are both its {one.variant} (alpha {one.alpha:g}, seed "
                f"{one.training['seed']}): give one for each column of Table 4."
            )
    first = results[0]
    seeds = sorted(next(iter(by_seed.values())))
    if any(sorted(found) != seeds for found in by_seed.values()):
        raise InputError(f"The translators of {corpus} come from different seeds: train all with the same ones.")
    if any(one.training["epochs"] != first.training["epochs"] for one in results):
        raise InputError(f"The translators of {corpus} learned for different numbers of epochs: train all alike.")
    alphas = [alpha for variant, alpha in by_seed if variant == "MoDE"]
    alpha = max(alphas, key=lambda a: sum(one.validation_bleu for one in by_seed["MoDE", a].values()), default=None)
    chosen = {"single": by_seed.get(("single", 0.0)), "MoE": by_seed.get(("MoE", 0.0))}
    chosen["MoDE"] = None if alpha is None else by_seed["MoDE", alpha]
    bleu = {name: [found[seed].test_bleu for seed in seeds] for name, found in chosen.items() if found}
    both = "MoE" in bleu and "MoDE" in bleu
    return TranslationLine(
        corpus=corpus,
        seeds=seeds,
        single=Summary.of(bleu["single"]) if "single" in bleu else None,
        moe=Summary.of(bleu["MoE"]) if "MoE" in bleu else None,
        mode=Summary.of(bleu["MoDE"]) if "MoDE" in bleu else None,
        alpha=alpha,
        difference=Paired.of(bleu["MoDE"], bleu["MoE"]) if both else None,
        parameters={name: found[seeds[0]].parameters for name, found in chosen.items() if found},
        pairs=first.pairs,
        epochs=first.training["epochs"],
        search=first.search,
        signature=first.signature,
    )


def translation_claims(lines: Sequence[TranslationLine]) -> list[Claim]:
    """What Table 4 says of MoDE, on each corpus: one run settles nothing."""
    return [
        Claim(
            claim="MoDE's BLEU is above MoE's (translation, Table 4)",
            here=f"{bleu_difference(line.difference)} BLEU on {line.corpus}, "
            f"{len(line.seeds)} run{'s' if len(line.seeds) > 1 else ''}",
            verdict=verdict(line.difference),
        )
        for line in lines
        if line.difference is not None
    ]


def bleu_difference(paired: Paired) -> str:
    """With its 95% interval: `+0.42 [-0.13, +0.98]`."""
    interval = "" if paired.low is None or paired.high is None else f" [{paired.low:+.2f}, {paired.high:+.2f}]"
    return f"{paired.mean:+.2f}{interval}"
