"""A sweep's lines and claims from planted numbers, and its report."""

import re
from html.parser import HTMLParser

import pytest
from example_results import example_results
from example_sweep import PLANTED, SIZES, WIDTHS, example_sweep
from moist.errors import InputError
from moist.reports.paper import TABLE_1
from moist.reports.results import Results
from moist.reports.sweep import SweepComparison, compare_results
from moist.reports.sweep_report import sweep_report
from moist.reports.sweep_tables import line_table, reference_table, sweep_text

MARGIN = 0.005


def compared(seeds: int = 3, **planted: float) -> SweepComparison:
    return compare_results(example_sweep({**PLANTED, **planted}, seeds), MARGIN)


def verdict_of(comparison: SweepComparison, start: str) -> str:
    (found,) = [claim.verdict for claim in comparison.claims if claim.claim.startswith(start)]
    return found


def test_lines_differ_in_one_thing_and_hold_the_middle() -> None:
    comparison = compared()
    found = {line.along: [getattr(point, line.along) for point in line.points] for line in comparison.lines}
    assert found == {
        "k": [2, 3, 4],
        "width": [64, 256, 1024, 4096],
        "router": ["cnn", "transformer", "linear"],
        "router_size": list(SIZES),
    }
    for line in comparison.lines[:3]:
        assert comparison.middle in line.points
    # Of the linear routers, the one of the stage's default size stands beside the other routers.
    assert [point.router_size for point in comparison.lines[2].points] == [None, None, 256]


def test_values_are_those_of_the_seeds_in_their_order() -> None:
    results = example_sweep()
    comparison = compare_results(results[::-1], MARGIN)
    assert comparison.seeds == [0, 1, 2]
    for point in comparison.points:
        expected = [next(row.accuracy for row in result.rows if row.key == point.key) for result in results]
        assert point.accuracy.values == expected
    assert "oracle" not in {point.key for point in comparison.points}
    assert [point.width for point in comparison.students] == [64, 256, 1024, 4096]


def test_a_class_router_has_its_place_though_the_paper_has_none() -> None:
    def as_class(result: Results) -> Results:
        rows = []
        for row in result.rows:
            if row.key == "by_router_0" and row.routing:
                row = row.model_copy(update={"routing": row.routing.model_copy(update={"router": "class"})})
            rows.append(row)
        return result.model_copy(update={"rows": rows})

    comparison = compare_results([as_class(result) for result in example_sweep()], MARGIN)
    (line,) = [line for line in comparison.lines if line.along == "router"]
    assert [point.router for point in line.points] == ["cnn", "linear", "class"]
    assert "class router" in sweep_text(comparison)
    assert "class" in sweep_report(comparison, [])


def test_a_model_that_came_twice_is_one_point() -> None:
    results = example_sweep()
    twice = []
    for result in results:
        middle = next(row for row in result.rows if row.key == "mixture")
        twice.append(result.model_copy(update={"rows": [*result.rows, middle.model_copy(update={"key": "by_k_2"})]}))
    assert compare_results(twice, MARGIN).points == compare_results(results, MARGIN).points


@pytest.mark.parametrize(
    ("planted", "start", "expected"),
    [
        ({}, "3 students are the most accurate", "holds"),
        ({"by_k_1": 0.81}, "3 students are the most accurate", "does not hold"),
        ({"by_k_1": 0.80}, "3 students are the most accurate", "not settled"),
        ({}, "Wider students are more accurate", "holds"),
        ({"by_width_2": 0.69}, "Wider students are more accurate", "does not hold"),
        ({}, "Beyond width 1024", "not settled"),
        ({"by_width_2": 0.80}, "Beyond width 1024", "holds"),
        ({"by_width_2": 0.90}, "Beyond width 1024", "does not hold"),
        ({}, "At width 1024 the mixture is more accurate than the teacher", "does not hold"),
        ({"by_width_1": 0.92}, "At width 1024 the mixture is more accurate than the teacher", "holds"),
        ({}, "At width 1024 it needs 58 times", "does not hold"),
        ({}, "The CNN is the most accurate router", "holds"),
        ({"by_router_0": 0.85}, "The CNN is the most accurate router", "does not hold"),
        ({}, "The size of the linear router does not matter", "not settled"),
        ({"by_size_1": 0.81}, "The CNN is the most accurate router", "does not hold"),
        ({"by_size_1": 0.70}, "The size of the linear router does not matter", "does not hold"),
        ({}, "The mixture beats a single student with the same training budget", "does not hold"),
        ({"same_cost": 0.7}, "The mixture beats a single student with the same inference cost", "holds"),
    ],
)
def test_claims_are_judged_by_the_paired_difference(planted: dict[str, float], start: str, expected: str) -> None:
    assert verdict_of(compared(**planted), start) == expected


def test_every_rival_has_to_be_excluded_not_only_the_best_one() -> None:
    """One of a lower mean may be the best with another seed."""

    def scattered(key: str, away: float) -> SweepComparison:
        def changed(seed: int, result: Results) -> Results:
            rows = [
                row.model_copy(update={"accuracy": row.accuracy + away * (seed - 1)}) if row.key == key else row
                for row in result.rows
            ]
            return result.model_copy(update={"rows": rows})

        planted = {**PLANTED, "by_width_1": 0.86, "by_width_2": 0.84}
        sweep = [changed(seed, result) for seed, result in enumerate(example_sweep(planted))]
        return compare_results(sweep, MARGIN)

    assert verdict_of(scattered("by_k_0", 0.0), "3 students are the most accurate") == "holds"
    assert verdict_of(scattered("by_k_0", 0.05), "3 students are the most accurate") == "not settled"
    assert verdict_of(scattered("by_width_2", 0.0), "Beyond width 1024") == "holds"
    assert verdict_of(scattered("by_width_2", 0.05), "Beyond width 1024") == "not settled"


def test_an_effect_is_none_if_it_is_surely_below_the_margin() -> None:
    results = example_sweep()
    assert verdict_of(compare_results(results, 0.02), "Beyond width 1024") == "holds"
    assert verdict_of(compare_results(results, 0.02), "The size of the linear router does not") == "holds"
    assert verdict_of(compare_results(results, 0.0001), "The size of the linear router does not") == "not settled"


def test_one_seed_settles_nothing() -> None:
    comparison = compared(seeds=1)
    judged = {claim.verdict for claim in comparison.claims if "times fewer" not in claim.claim}
    assert judged == {"not settled"}
    assert "One seed settles nothing" in sweep_text(comparison)


def test_costs_and_accuracies_stand_beside_the_papers() -> None:
    comparison = compared()
    routers = line_table(comparison, comparison.lines[2])
    by_name = {row[0]: dict(zip(routers.headings, row, strict=True)) for row in routers.rows}
    for name, key in (("cnn", "mixture"), ("transformer", "mixture_transformer"), ("linear of 256", "mixture_linear")):
        assert by_name[name]["paper %, on CIFAR-10"] == f"{100 * TABLE_1[key].accuracy:.2f}"
        assert by_name[name]["paper’s, on CIFAR-10"] == "0.10"
    assert by_name["cnn"]["MMAC, router + student"] == "12.9"
    assert by_name["cnn"]["“MFLOPs” as the paper counts"] == "0.104"
    assert by_name["cnn"]["accuracy %"] == "80.00 ± 0.10"
    widths = line_table(comparison, comparison.lines[1])
    printed = {row[0]: dict(zip(widths.headings, row, strict=True)) for row in widths.rows}
    assert printed["1024"]["paper %, on CIFAR-10"] == "85.2"
    assert printed["1024"]["paper’s, on CIFAR-10"] == "0.15"
    assert printed["64"]["paper %, on CIFAR-10"] == "–"
    assert not any("paper %" in heading for heading in line_table(comparison, comparison.lines[0]).headings)
    assert reference_table(comparison).rows[0][0] == "teacher, ResNet-18"


def test_other_data_is_said_to_be_other_data() -> None:
    data = example_results().data.model_copy(update={"name": "digits"})
    comparison = compare_results(example_sweep(data=data), MARGIN)
    assert "these are of digits" in sweep_text(comparison)
    assert not [claim for claim in comparison.claims if "times fewer" in claim.claim]


def without(results: list[Results], key: str) -> list[Results]:
    last = results[-1]
    return [*results[:-1], last.model_copy(update={"rows": [row for row in last.rows if row.key != key]})]


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ([], "give those of at least one seed"),
        ([*example_sweep(seeds=2), *example_sweep(seeds=1)], "are of the seeds 0, 0, 1: give each seed once"),
        (
            [*example_sweep(seeds=1), *example_sweep(seeds=2, data=example_results(classes=["a", "b", "c"]).data)[1:]],
            "different data or splits",
        ),
        (without(example_sweep(), "by_width_1"), "do not hold the same models ('MoIST, cnn router, k=3, width 1024'"),
        (without(example_sweep(seeds=1), "mixture"), "hold no mixture"),
    ],
)
def test_what_cannot_be_compared_is_said(results: list[Results], said: str) -> None:
    with pytest.raises(InputError) as caught:
        compare_results(results, MARGIN)
    assert said in str(caught.value)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_report_is_whole_repeatable_and_safe() -> None:
    hostile = "<script>alert(1)</script>\x1b[31m"
    data = example_results().data.model_copy(update={"name": hostile})
    comparison = compare_results(example_sweep(data=data), MARGIN)
    lineage = [("evaluate-0", "sha256:0", "1.0")]
    page = sweep_report(comparison, lineage)
    assert page == sweep_report(comparison, lineage)
    found = _Page()
    found.feed(page)
    assert "script" not in found.tags
    assert "\x1b" not in page + sweep_text(comparison)
    assert len(found.ids) == len(set(found.ids))
    assert found.tags.count("svg") == 1 + len(comparison.lines)
    links = re.findall(r'href="#([\w-]+)"', page)
    assert {"k", "width", "router", "router_size"} <= set(links) <= set(found.ids)


def test_published_networks_are_drawn_beside_cifar_only() -> None:
    lineage = [("evaluate-0", "sha256:0", "1.0")]
    assert "ResNet-20" in sweep_report(compared(), lineage)
    data = example_results().data.model_copy(update={"name": "digits"})
    other = sweep_report(compare_results(example_sweep(data=data), MARGIN), lineage)
    assert "ResNet-20" not in other


def test_a_single_mixture_has_no_lines() -> None:
    results = [
        result.model_copy(update={"rows": [row for row in result.rows if not re.search(r"_\d$", row.key)]})
        for result in example_sweep()
    ]
    comparison = compare_results(results, MARGIN)
    assert comparison.lines == []
    assert "no line to draw" in sweep_report(comparison, [])
    assert WIDTHS[0] not in [point.width for point in comparison.points]
