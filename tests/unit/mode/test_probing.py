"""Probing on mixtures made by hand, whose every figure is known; and sums that must hold for any mixture."""

import numpy as np
import pytest
from moist.errors import InputError
from moist.mode.paper import TABLE_6
from moist.mode.probing import Probe, count_repairs, probe_experts
from pydantic import ValidationError

C = 3


def one_hot(answers: list[list[int]]) -> np.ndarray:
    """Logits (N, E, C) that answer as given."""
    return np.eye(C)[np.array(answers)]


# Eight inputs, two experts: what each expert answers, the weight of the first, the mixture's answer, the label.
CASES = [
    ((0, 0), 0.9, 0, 0),  # both right
    ((0, 1), 0.8, 0, 0),  # first right and dominating
    ((0, 1), 0.3, 1, 0),  # first right, second dominates: type 2
    ((0, 1), 0.4, 0, 0),  # the same, but mixing repairs it: type 2, gained
    ((1, 2), 0.7, 1, 0),  # none right: type 1
    ((1, 2), 0.5, 0, 0),  # none right, tied weights (the first dominates), mixing repairs it: type 1, gained
    ((2, 1), 0.1, 1, 1),  # second right and dominating
    ((2, 1), 0.2, 2, 1),  # the same, but mixing spoils it: lost
]


def by_hand() -> Probe:
    first = np.array([case[1] for case in CASES])
    return probe_experts(
        np.eye(C)[[case[2] for case in CASES]],
        np.stack([first, 1 - first], axis=1),
        one_hot([list(case[0]) for case in CASES]),
        [case[3] for case in CASES],
    )


def test_every_figure_of_a_mixture_made_by_hand() -> None:
    probe = by_hand()
    assert (probe.inputs, probe.correct) == (8, 5)
    assert (probe.masked_correct, probe.recognisable) == (4, 6)
    assert (probe.type_1_errors, probe.type_2_errors, probe.gained, probe.lost) == (2, 2, 2, 1)
    assert (probe.domain_inputs, probe.domain_correct) == ([4, 4], [2, 2])
    assert probe.domain_by_class == [[4, 0, 0], [2, 2, 0]]
    assert probe.accuracy == 5 / 8
    assert probe.masked_accuracy == 4 / 8
    assert probe.domain_accuracy == [2 / 4, 2 / 4]
    assert probe.recognition_accuracy == 4 / 6
    assert probe.consistency == 1 / 8
    assert probe.inclination == pytest.approx(np.mean([0.8, 0.6, 0.4, 0.2, 0.4, 0.0, 0.8, 0.6]))


def test_what_another_mixture_repairs_and_spoils_of_a_mixture_made_by_hand() -> None:
    first = np.array([case[1] for case in CASES])
    labels = [case[3] for case in CASES]
    given = (
        np.eye(C)[[case[2] for case in CASES]],
        np.stack([first, 1 - first], axis=1),
        one_hot([list(case[0]) for case in CASES]),
    )
    found = count_repairs(*given, np.eye(C)[[1, 0, 0, 0, 0, 1, 1, 1]], labels)
    # Wrong were input 2 (type 2), 4 (type 1) and 7 (spoiled by mixing), all right now; right were 0 and 5, now wrong.
    assert (found.type_1, found.type_2, found.of_mixing, found.spoiled) == (1, 1, 1, 2)
    none = count_repairs(*given, given[0], labels)
    assert (none.type_1, none.type_2, none.of_mixing, none.spoiled) == (0, 0, 0, 0)


def test_equal_experts_are_consistent_and_always_recognised() -> None:
    answers = [[0, 0, 0], [1, 1, 1], [2, 2, 2], [0, 0, 0]]
    weights = np.array([[0.2, 0.5, 0.3]] * 4)
    probe = probe_experts(one_hot(answers)[:, 0], weights, one_hot(answers), [0, 1, 0, 0])
    assert probe.consistency == 1.0
    assert probe.recognition_accuracy == 1.0
    assert (probe.type_1_errors, probe.type_2_errors) == (1, 0)
    assert probe.domain_inputs == [0, 4, 0]
    assert probe.domain_accuracy == [None, 3 / 4, None]
    assert probe.inclination == pytest.approx(0.2)


def test_one_expert() -> None:
    probe = probe_experts(np.eye(C)[[0, 1]], np.ones((2, 1)), one_hot([[0], [1]]), [0, 0])
    assert probe.consistency is None
    assert probe.inclination == 1.0
    assert (probe.accuracy, probe.masked_accuracy, probe.recognition_accuracy) == (0.5, 0.5, 1.0)


def test_idle_experts_do_not_answer() -> None:
    answers, weights = [[0, 1, 1], [1, 0, 1]], np.array([[0.0, 0.6, 0.4], [0.7, 0.0, 0.1]])
    probe = probe_experts(np.eye(C)[[1, 1]], weights, one_hot(answers), [0, 0], active=weights > 0)
    assert (probe.recognisable, probe.type_1_errors) == (0, 2)
    assert probe.recognition_accuracy is None
    assert probe.consistency == 1.0
    everyone = probe_experts(np.eye(C)[[1, 1]], weights, one_hot(answers), [0, 0])
    assert (everyone.recognisable, everyone.type_2_errors) == (2, 2)
    assert everyone.consistency == 2 / 6
    with pytest.raises(InputError, match="not active"):
        probe_experts(np.eye(C)[[1, 1]], weights, one_hot(answers), [0, 0], active=weights == 0)


@pytest.mark.parametrize("experts", [1, 2, 5])
def test_the_sums_hold_for_any_mixture(experts: int) -> None:
    random = np.random.default_rng(experts)
    logits = random.normal(size=(200, experts, C))
    weights = random.dirichlet(np.ones(experts), 200)
    labels = random.integers(0, C, 200)
    probe = probe_experts((weights[:, :, None] * logits).sum(axis=1), weights, logits, labels)
    assert probe.masked_correct + probe.type_1_errors + probe.type_2_errors == 200
    assert probe.masked_correct + probe.gained - probe.lost == probe.correct
    assert sum(probe.domain_correct) == round(probe.masked_accuracy * 200)
    assert np.array(probe.domain_by_class).sum(axis=0).tolist() == np.bincount(labels, minlength=C).tolist()


def test_the_papers_table_6_does_not_add_up() -> None:
    """Masked .9400 of 400 is 376, recognition says 380 of 389, and 9 errors of type 2: no probe can be all of these."""
    printed = TABLE_6[0.0]
    masked, recognisable = round(400 * printed.masked_accuracy), printed.recognisable
    counts = {"masked_correct": masked, "recognisable": recognisable, "type_1_errors": 400 - recognisable}
    counts |= {"type_2_errors": recognisable - printed.recognised, "domain_inputs": [200, 200]}
    counts |= {"domain_by_class": [[200], [200]], "domain_correct": [masked - 190, 190]}
    correct = round(400 * printed.accuracy)
    with pytest.raises(ValidationError, match=r"masked_correct \+ type_2_errors = recognisable, but 385 is not 389"):
        Probe(inputs=400, correct=correct, gained=correct - masked, lost=0, inclination=0.9, consistency=0.0, **counts)


def test_bad_input() -> None:
    with pytest.raises(InputError, match="probing needs logits"):
        probe_experts(np.zeros((2, 3)), np.ones((2, 2)), np.zeros((2, 3, 3)), [0, 1])
    with pytest.raises(InputError, match="labels run from 0 to 3, but there are 3 classes"):
        probe_experts(np.zeros((2, 3)), np.ones((2, 1)), np.zeros((2, 1, 3)), [0, 3])
    with pytest.raises(InputError, match="no inputs"):
        probe_experts(np.zeros((0, 3)), np.ones((0, 1)), np.zeros((0, 1, 3)), [])
