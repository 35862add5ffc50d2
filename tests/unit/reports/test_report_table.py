"""The table and the verdict say what the results say, and nothing more."""

import pytest
from example_results import example_results
from moist.reports.results import Row
from moist.reports.table import WIDTH, markdown_table, paper_lines, table_lines, text_table
from moist.reports.verdict import caveat, standard_error, verdicts


def test_cells_are_the_results() -> None:
    results = example_results()
    lines = {line.row.key: line for line in table_lines(results)}
    assert list(lines) == ["teacher", "student", "mixture", "same_budget", "same_cost", "oracle"]
    assert lines["teacher"].cells == ["90.40", "0.2724", "556.66", "1.0", "21.300", "660.3", "", "", ""]
    accuracy, loss, macs, fewer, single, batch, r, a, b = lines["mixture"].cells
    mixture = lines["mixture"].row
    assert (accuracy, loss, macs, fewer) == ("81.22", f"{mixture.loss:.4f}", "12.88", f"{556.66 / 12.88:.1f}")
    assert (single, batch) == ("1.020", "31.6")
    assert (r, b) == ("0.907", "0.238")
    assert 0.907 * float(a) + 0.093 * 0.238 == pytest.approx(0.8122, abs=1e-3)
    assert lines["oracle"].cells[-3:] == ["1.000", "0.848", "–"]


def test_text_table_is_aligned_and_narrow() -> None:
    text = text_table(example_results(classes=[f"c{i}" for i in range(10)]))
    lines = text.splitlines()
    assert lines
    assert max(map(len, lines)) <= WIDTH
    ends = {line.index(cell) + 6 for line in lines for cell in ("556.66", " 12.88", "  6.65") if cell in line[:60]}
    assert len(ends) == 1, "the numbers of one column end in one place"


def test_long_labels_wrap_within_the_width() -> None:
    results = example_results()
    rows = [row.model_copy(update={"label": f"{row.label} " + "with a very long name " * 4}) for row in results.rows]
    text = text_table(results.model_copy(update={"rows": rows}))
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "556.66" in text


def test_controls_and_upper_bound_are_marked() -> None:
    text = " ".join(text_table(example_results()).split())
    assert text.count("control: single student") == 4, "in the table, and beside the paper's"
    assert "(knows the label)" in text
    assert "| control: single student, same training budget | 81.50 |" in markdown_table(example_results())


def test_the_papers_table_stands_beside_ours() -> None:
    lines = {line.row.key: line.cells for line in paper_lines(example_results())}
    assert lines["teacher"] == ["90.40", "83.80", lines["teacher"][2], "0.4910", "556.66", "8.698", "8.70"]
    # Both conventions: with the router, and as the paper counts, without it and divided by 64.
    assert lines["mixture"][:2] + lines["mixture"][4:] == ["81.22", "84.08", "12.88", "0.104", "0.10"]
    assert lines["oracle"][1] == "89.49"
    assert [cell for key in ("same_budget", "same_cost") for cell in (lines[key][1], lines[key][6])] == ["–"] * 4
    for text in (text_table(example_results()), markdown_table(example_results())):
        assert "Beside the paper’s Table I" in text


def test_each_router_stands_beside_its_own_line_of_the_paper() -> None:
    results = example_results()
    mixture = next(row for row in results.rows if row.key == "mixture")
    found = {}
    for key, router in (("mixture", "transformer"), ("mixture_linear", "linear"), ("by_k_0", "cnn")):
        routing = mixture.routing.model_copy(update={"router": router}) if mixture.routing else None
        row = mixture.model_copy(update={"key": key, "routing": routing})
        found[key] = paper_lines(results.model_copy(update={"rows": [row]}))[0].cells[1]
    assert found == {"mixture": "84.01", "mixture_linear": "83.52", "by_k_0": "–"}


def test_other_data_is_not_laid_beside_the_paper() -> None:
    results = example_results()
    other = results.model_copy(update={"data": results.data.model_copy(update={"name": "digits"})})
    assert paper_lines(other) == []
    assert "Table I" not in text_table(other) + markdown_table(other)


def test_small_networks_keep_significant_digits() -> None:
    results = example_results()
    rows = [row.model_copy(update={"macs": row.macs / 1000}) for row in results.rows]
    cells = [line.cells[2] for line in table_lines(results.model_copy(update={"rows": rows}))]
    assert cells[:3] == ["0.55666", "0.00665", "0.01288"]


def test_verdict_when_the_mixture_wins() -> None:
    (sentence,) = verdicts(example_results(mixture=0.86, same_budget=0.8150, same_cost=0.8280))
    assert sentence == (
        "MoIST, CNN router (86.00 %) beat both of its controls: it is 4.50 ± 0.52 points above the single student with "
        "the same training budget (81.50 %) and 3.20 ± 0.51 points above the single student with the same inference "
        "cost (82.80 %). If it looks again at the mirrored image where it is least sure, the single student with the "
        "same training budget reaches 82.44 % for at most the mixture's cost."
    )
    cheaper = example_results(mixture=0.86)
    rows = [row.model_copy(update={"macs": 6e6}) if row.role == "mixture" else row for row in cheaper.rows]
    assert "looks again" not in verdicts(cheaper.model_copy(update={"rows": rows}))[0]


def test_a_control_that_is_cheaper_or_dearer_after_all_is_said_to_be() -> None:
    """Second opinions: how many images ask for one is known only once they are served."""
    results = example_results(mixture=0.86)
    rows = [row.model_copy(update={"macs": 13.2e6}) if row.role == "mixture" else row for row in results.rows]
    (sentence,) = verdicts(results.model_copy(update={"rows": rows}))
    assert "the same inference cost (82.80 %, 12.96 MMAC against the mixture’s 13.20)" in sentence


def test_verdict_when_it_loses_wins_one_or_ties() -> None:
    (lost,) = verdicts(example_results())
    assert "beat neither of its controls" in lost
    assert "0.28 ± 0.55 points below the single student with the same training budget" in lost
    (half,) = verdicts(example_results(mixture=0.82, same_budget=0.80))
    assert "beat 1 of its 2 controls" in half
    assert "2.00 ± 0.55 points above" in half
    assert "0.80 ± 0.54 points below" in half
    (unsettled,) = verdicts(example_results(mixture=0.82))
    assert "beat neither of its controls" in unsettled
    assert "0.50 ± 0.55 points above" in unsettled
    (tie,) = verdicts(example_results(mixture=0.8150, same_cost=0.8150))
    assert "beat neither of its controls" in tie
    assert tie.count("level with") == 2


def test_verdict_names_what_was_not_measured() -> None:
    results = example_results()
    without = results.model_copy(update={"rows": [row for row in results.rows if row.key != "same_cost"]})
    (sentence,) = verdicts(without)
    assert "did not beat its control" in sentence
    assert "The comparison with the single student with the same inference cost is missing." in sentence
    alone = results.model_copy(update={"rows": [row for row in results.rows if row.role == "mixture"]})
    assert "not compared with any control" in verdicts(alone)[0]
    assert verdicts(results.model_copy(update={"rows": results.rows[:1]})) == ["No mixture was measured."]
    assert [line.cells[3] for line in table_lines(alone)] == ["–"], "without a teacher nothing is cheaper than it"


def test_a_mixture_is_not_held_against_another_ones_controls() -> None:
    results = example_results()
    other = results.rows[2].model_copy(
        update={"key": "mixture_linear", "label": "MoIST, linear router", "accuracy": 0.9}
    )
    first, second = verdicts(results.model_copy(update={"rows": [*results.rows, other]}))
    assert first == verdicts(results)[0]
    assert second == (
        "MoIST, linear router (90.00 %) has no controls of its own: this run's have the budget and the cost of MoIST, "
        "CNN router."
    )


def test_the_error_is_binomial_and_the_caveat_names_one_seed() -> None:
    assert standard_error(0.5, 10_000) == pytest.approx(0.005)
    assert standard_error(1.0, 10_000) == 0
    assert caveat(example_results()).startswith("One seed and 10,000 held-out images")


def test_names_cannot_break_terminal_or_markdown() -> None:
    results = example_results()
    rows = [row.model_copy(update={"label": "a|b\x1b[31m\n<script>"}) for row in results.rows[:1]]
    hostile = results.model_copy(update={"rows": rows})
    assert "\x1b" not in text_table(hostile)
    assert "| a\\|b\ufffd\\[31m &lt;script&gt; | 90.40 |" in markdown_table(hostile)


def test_missing_numbers_are_dashes() -> None:
    results = example_results()
    rows = [row.model_copy(update={"loss": float("nan"), "latency": []}) for row in results.rows]
    text = text_table(results.model_copy(update={"rows": rows}))
    assert "nan" not in text.lower()
    assert text.count("–") >= 3 * len(rows)


def test_the_error_is_paired_where_the_disagreements_are_known() -> None:
    results = example_results(mixture=0.86, same_budget=0.85, same_cost=0.85)

    def with_disagreements(row: Row) -> Row:
        if row.key == "mixture":
            return row.model_copy(update={"right_alone": {"same_budget": 300, "same_cost": 300}})
        return row.model_copy(update={"right_alone": {"mixture": 200}}) if row.role == "control" else row

    paired = results.model_copy(update={"rows": [with_disagreements(row) for row in results.rows]})
    # sqrt(300 + 200 - 100^2 / 10,000) / 10,000 = 0.223 points; taken as independent it would be 0.50.
    assert "1.00 ± 0.22 points above" in verdicts(paired)[0]
    assert "only one of the two models" in caveat(paired)
    assert "1.00 ± 0.50 points above" in verdicts(results)[0]
    assert "taken as independent" in caveat(results)
