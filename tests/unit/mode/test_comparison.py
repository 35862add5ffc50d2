"""What comparing says of results whose figures are known by hand."""

from typing import Literal

import pytest
from moist.errors import InputError
from moist.mode.comparison import Comparison, compare_results, over_tables, paper_cells, points, verdict
from moist.mode.results import Architecture, ImageResults, NarrowVision, TableResults, VariantResults
from moist.mode.statistics import Paired, Summary
from moist.mode.translation_comparison import translation_claims, translation_lines
from moist.mode.translation_results import TranslationResults
from moist.reports.mode_tables import mode_text, strengths_5, table_3, table_5
from moist.reports.translation_tables import table_4
from scipy import stats


def variant(
    gate: Literal["single", "dense", "sparse"],
    test: list[list[float]],
    alphas: tuple[float, ...] = (0.0, 0.01, 0.1),
    experts: int = 2,
    validation: list[list[float]] | None = None,
    vision: tuple[float, ...] = (),
) -> VariantResults:
    """One accuracy for each seed (row) and alpha (column)."""
    return VariantResults(
        architecture=Architecture(gate=gate, experts=experts, top_k=min(2, experts), hidden=16),
        training={},
        alphas=list(alphas),
        seeds=list(range(len(test))),
        test=test,
        validation=validation or test,
        kept_epoch=[[1] * len(alphas)] * len(test),
        narrow_vision=[
            NarrowVision(share=[[own, 1 - own], [1 - own, own]], own_share=[own], epochs=[1]) for own in vision
        ],
        seconds=1.0,
    )


def table(name: str, *variants: VariantResults) -> TableResults:
    return TableResults(table=name, rows=100, features=4, classes=["a", "b"], notes=[], variants=list(variants))


def pictures(name: str, single: list[float], test: list[list[float]], validation: list[list[float]]) -> ImageResults:
    """One accuracy for each seed (row) and alpha: 0, 0.1 and 10."""
    return ImageResults(
        images=name,
        classes=10,
        shape=(28, 28, 1),
        train=100,
        validation_images=10,
        test_images=10,
        split="",
        augmentation="none",
        training={"network": "cnn", "epochs": 1},
        seeds=list(range(len(test))),
        alphas=[0.0, 0.1, 10.0],
        single=single,
        test=test,
        validation=[[*row] for row in validation],
        probes=[],
        seconds=1.0,
    )


def verdicts(comparison: Comparison) -> dict[str, str]:
    return {claim.claim: claim.verdict for claim in comparison.claims}


UP = [[0.90, 0.92, 0.91], [0.91, 0.93, 0.92], [0.92, 0.941, 0.931]]
DOWN = [[0.90, 0.88, 0.87], [0.91, 0.89, 0.88], [0.92, 0.899, 0.89]]
MIXED = [[0.90, 0.95, 0.90], [0.91, 0.86, 0.90], [0.92, 0.93, 0.90]]


@pytest.mark.parametrize(("test", "expected"), [(UP, "holds"), (DOWN, "does not hold"), (MIXED, "not settled")])
def test_a_claim_holds_only_if_its_interval_is_clear_of_0(test: list[list[float]], expected: str) -> None:
    found = compare_results([table("t", variant("dense", test))], [0.01])
    assert verdicts(found)["MoDE is more accurate than MoE (dense gate, Table 3)"] == expected


def test_alpha_is_chosen_on_validation_not_on_test() -> None:
    better_at_01 = [[0.5, 0.6, 0.7]] * 3
    found = compare_results([table("t", variant("dense", UP, validation=better_at_01))], [0.01, 0.1])
    (choice,) = found.lines[0].choices
    assert choice.alpha == 0.1
    assert choice.mode.values == [0.91, 0.92, 0.931]


def test_tables_are_averaged_seed_by_seed_before_pairing() -> None:
    one, two = Summary.of([0.8, 0.9]), Summary.of([0.6, 0.52])
    base = Summary.of([0.5, 0.5])
    together = over_tables([(one, base), (two, base)])
    assert together == Paired.of([0.7, 0.71], [0.5, 0.5])
    assert together.mean == pytest.approx(0.205)


def test_differences_that_are_all_the_same_settle_nothing() -> None:
    """As of few test rows: one more is right with each seed."""
    alike = Paired.of([350 / 359, 353 / 359, 351 / 359], [349 / 359, 352 / 359, 350 / 359])
    assert (alike.low, alike.high) == (None, None)
    assert verdict(alike) == "not settled"


def test_the_best_of_several_rivals_is_judged_by_a_wider_interval() -> None:
    ours, theirs = [0.91, 0.92, 0.945, 0.94], [0.90, 0.905, 0.94, 0.92]
    alone, of_three = Paired.of(ours, theirs), Paired.of(ours, theirs, rivals=3)
    interval = stats.ttest_rel(ours, theirs).confidence_interval(1 - 0.05 / 3)
    assert (of_three.low, of_three.high) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert (verdict(alone), verdict(of_three)) == ("holds", "not settled")


def test_one_run_settles_nothing_and_shows_no_interval() -> None:
    alone = Paired.of([0.9], [0.8])
    assert verdict(alone) == "not settled"
    assert points(alone) == "+10.00"


def test_only_the_papers_own_tables_are_held_against_its_figures() -> None:
    near = variant("dense", [[0.9380, 0.9525, 0.9525]] * 2)
    far = variant("single", [[0.9]] * 2, alphas=(0.0,), experts=1)
    own = compare_results([table("mfeat-karhunen", near, far)], [0.01])
    claim = next(claim for claim in own.claims if claim.claim.startswith("The means of Table 3"))
    assert claim.verdict == "does not hold"
    assert claim.here == "2 of 3 are; not mfeat-karhunen single (-3.88)"
    part = compare_results([table("isolet1", near, far)], [0.01])
    assert not any(claim.claim.startswith("The means of Table 3") for claim in part.claims)
    assert part.lines[0].paper == "isolet"
    assert len(paper_cells(part.lines[0])) == 3
    assert "1560 of its 7797 rows" in mode_text(part, [table("isolet1", near, far)], [0.0])


def test_more_experts_are_compared_with_fewer() -> None:
    higher = [[x + 0.01 + 0.002 * s for x in row] for s, row in enumerate(UP)]
    found = compare_results([table("t", variant("dense", higher, experts=8), variant("dense", UP))], [0.01])
    assert verdicts(found)["MoE gains from 8 experts over 2 (Table 7)"] == "holds"
    assert found.lines[0].of("dense").architecture.experts == 2  # type: ignore[union-attr]
    assert [choice.architecture.experts for choice in found.lines[0].dense] == [2, 8]


def test_one_number_of_experts_refutes_what_is_said_of_all() -> None:
    claim = "MoDE beats MoE however many experts there are (Table 7)"
    for eight, expected in ((UP, "holds"), (DOWN, "does not hold")):
        found = compare_results([table("t", variant("dense", UP), variant("dense", eight, experts=8))], [0.01])
        assert verdicts(found)[claim] == expected


def test_strength_and_narrow_vision_are_judged() -> None:
    test = [[0.90, 0.92, 0.60], [0.91, 0.93, 0.62], [0.92, 0.941, 0.61]]
    found = compare_results([table("t", variant("dense", test, (0.0, 0.01, 100.0), vision=(0.8, 0.6, 0.5)))], [0.01])
    said = verdicts(found)
    assert said["Too large an alpha (100) no longer helps (Fig 4, Table 6, t)"] == "holds"
    assert said["A wide range of alpha helps (Fig 4, t)"] == "not settled"
    assert said["Vision is narrow in MoE, and wider in MoDE (Fig 1, t)"] == "holds"
    narrower = compare_results([table("t", variant("dense", test, (0.0, 0.01, 100.0), vision=(0.8, 0.9, 0.5)))], [0.01])
    assert verdicts(narrower)["Vision is narrow in MoE, and wider in MoDE (Fig 1, t)"] == "does not hold"


def test_table_3_shows_a_dash_where_nothing_was_trained() -> None:
    shown = table_3(compare_results([table("t", variant("dense", UP))], [0.01]))
    assert shown.rows == [["t, here", "–", "91.00 ± 1.00", "93.03 ± 1.05", "+2.03 [+1.89, +2.18]", "0.01", *["–"] * 4]]


@pytest.mark.parametrize(
    ("tables", "candidates", "said"),
    [
        ([], [0.01], "give at least one"),
        ([table("t", variant("dense", UP)), table("t", variant("dense", UP))], [0.01], "each once"),
        ([table("t", variant("dense", UP)), table("u", variant("dense", UP[:2]))], [0.01], "different seeds"),
        ([table("t", variant("dense", UP))], [5.0], "none of those to choose from (5)"),
        ([table("t", variant("dense", UP, (1.0, 0.01, 0.1)))], [0.01], "was not trained with alpha 0"),
    ],
)
def test_what_cannot_be_compared_is_said(tables: list[TableResults], candidates: list[float], said: str) -> None:
    with pytest.raises(InputError) as caught:
        compare_results(tables, candidates)
    assert said in str(caught.value)


def test_images_are_compared_at_the_strength_that_validation_prefers() -> None:
    found = pictures("mnist", [0.97, 0.975, 0.98], UP, validation=[[0.9, 0.5, 0.6]] * 3)
    comparison = compare_results([table("t", variant("dense", UP))], [0.01], [found])
    (line,) = comparison.images
    assert (line.alpha, line.mode.values) == (10.0, [row[2] for row in UP])
    assert line.difference == Paired.of(line.mode.values, line.moe.values)
    assert [strength.alpha for strength in line.strengths] == [0.0, 0.1, 10.0]
    judged = verdicts(comparison)
    assert judged["MoDE is more accurate than MoE (images, Table 5)"] == "holds"
    assert judged["MoDE is more accurate than one network alone (images, Table 5)"] == "does not hold"
    five, strengths = table_5(comparison), strengths_5(comparison)
    assert five is not None
    assert strengths is not None
    assert [row[0] for row in five.rows] == ["mnist, here", "mnist, paper"]
    assert five.rows[0][1:4] == ["97.50 ± 0.50", "91.00 ± 1.00", "92.03 ± 1.05"]
    assert five.rows[1][1:4] == ["98.89", "98.86", "99.18"]
    assert strengths.headings == ["images", "α = 0.1", "α = 10"]
    text = mode_text(comparison, [table("t", variant("dense", UP))], [0.0])
    assert "## Table 5: images" in text
    assert "# MoDE on t, mnist" in text


def test_an_image_data_set_given_twice_is_refused() -> None:
    found = pictures("mnist", [0.9], [[0.9, 0.9, 0.9]], [[0.9, 0.9, 0.9]])
    with pytest.raises(InputError, match="mnist, mnist: give each once"):
        compare_results([table("t", variant("dense", UP))], [0.01], [found, found])


def test_without_images_nothing_is_said_of_them() -> None:
    comparison = compare_results([table("t", variant("dense", UP))], [0.01])
    assert (comparison.images, table_5(comparison), strengths_5(comparison)) == ([], None, None)
    assert not any("Table 5" in claim.claim for claim in comparison.claims)


def translator(
    test: float, alpha: float = 0.0, seed: int = 0, validation: float = 30.0, single: bool = False, epochs: int = 5
) -> TranslationResults:
    """One translator of the corpus a - b."""
    return TranslationResults(
        corpus="a - b",
        gate="single" if single else "dense",
        experts=1 if single else 2,
        top_k=1 if single else 2,
        alpha=alpha,
        parameters=1_000_000 if single else 2_000_000,
        vocabulary=100,
        pairs={"train": 10, "validation": 1, "test": 1},
        network={},
        training={"epochs": epochs, "seed": seed},
        series={},
        search={"beam": 4.0, "length_penalty": 0.6},
        test_bleu=test,
        validation_bleu=validation,
        signature="tok:13a",
        seconds=1.0,
    )


def test_table_4_pairs_translators_by_seed_and_chooses_alpha_in_validation() -> None:
    results = [
        *(translator(30.0 + seed, single=True, seed=seed) for seed in (0, 1, 2)),
        *(translator(31.0, seed=seed) for seed in (2, 1, 0)),
        *(translator(32.0 + seed, alpha=1.0, seed=seed, validation=33.0) for seed in (0, 1, 2)),
        *(translator(40.0, alpha=0.1, seed=seed, validation=29.0) for seed in (0, 1, 2)),
    ]
    (line,) = translation_lines(results)
    assert line.alpha == 1.0
    assert line.difference == Paired.of([32.0, 33.0, 34.0], [31.0] * 3)
    (claim,) = translation_claims([line])
    assert (claim.verdict, claim.here) == ("not settled", "+2.00 [-0.48, +4.48] BLEU on a - b, 3 runs")
    found = table_4([line])
    assert found is not None
    assert found.rows[0] == [
        "a - b, here", "31.00 ± 1.00", "31.00 ± 0.00", "33.00 ± 1.00", "+2.00 [-0.48, +4.48]", "1"
    ]  # fmt: skip
    assert ["iwslt14 de-en, paper", "34.60", "34.88", "35.14", "+0.26", "1"] in found.rows


def test_table_4_says_what_is_missing_and_one_run_settles_nothing() -> None:
    assert table_4([]) is None
    (alone,) = translation_lines([translator(30.0, single=True)])
    assert (alone.moe, alone.mode, alone.difference, translation_claims([alone])) == (None, None, None, [])
    (pair,) = translation_lines([translator(30.0), translator(39.0, alpha=1.0)])
    assert [claim.verdict for claim in translation_claims([pair])] == ["not settled"]


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ([translator(30.0), translator(31.0)], "both its MoE"),
        ([translator(30.0), translator(31.0, alpha=1.0, seed=1)], "different seeds"),
        ([translator(30.0), translator(31.0, alpha=1.0, epochs=6)], "different numbers of epochs"),
    ],
)
def test_translators_that_cannot_be_compared_are_refused(results: list[TranslationResults], said: str) -> None:
    with pytest.raises(InputError, match=said):
        translation_lines(results)
