"""A runtime that answers otherwise than PyTorch is an error that names image and figures."""

from dataclasses import replace

import numpy as np
import pytest
from moist.errors import MoistError
from moist.serving.agreement import Agreement, Reference, compare
from moist.serving.runtimes import Served

LEAD = np.array([5, 5, 1e-6], np.float32)
LOGITS = np.array([[9, 1, 0], [0, 20, 1], [3, 2, 1]], np.float32)
LABELS = np.array([0, 1, 2])
EXPECTED = Reference(Served(LOGITS, np.array([0, 1, 1])), LEAD)


def found(
    student: tuple[int, ...] = (0, 1, 1), image: int = 0, change: float = 0.0, rows: int = 3
) -> tuple[Served, Reference]:
    logits = LOGITS[:rows].copy()
    logits[image, 1] += change
    return Served(logits, np.array(student)), EXPECTED


def check(answers: tuple[Served, Reference], tolerance: float = 1e-3, accuracy_tolerance: float = 0.001) -> Agreement:
    return compare("Some runtime", *answers, LABELS, tolerance, accuracy_tolerance)


def test_small_differences_are_none() -> None:
    # Allowed is 1e-3 of the largest logit, 20.
    agreement = check(found(change=0.019))
    assert agreement.logits_difference == pytest.approx(0.019, rel=1e-4)
    assert (agreement.accuracy, agreement.accuracy_pytorch, agreement.routed_otherwise) == (2 / 3, 2 / 3, 0)


def test_an_undecided_image_may_go_elsewhere_and_its_logits_with_it() -> None:
    agreement = check(found(student=(0, 1, 0), image=2, change=0.9))
    assert agreement.routed_otherwise == 1
    assert agreement.logits_difference == 0


def test_an_undecided_image_that_went_the_same_way_is_compared() -> None:
    answers, _ = found(image=2, change=0.9)
    with pytest.raises(MoistError, match="gives image 2 logits that differ"):
        check((answers, EXPECTED))
    second_choice = replace(EXPECTED, student_tells=False)  # another second student may have been asked
    assert check((answers, second_choice)).routed_otherwise == 1


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (found(change=0.021), "Some runtime gives image 0 logits that differ .* by 0.021, more than the 0.02 allowed"),
        (found(change=float("nan")), "image 0 logits that differ .* by nan"),
        (found(student=(1, 1, 1)), "sends image 0 to student 1, PyTorch to student 0 with a lead of 5"),
        (found(rows=2), r"answers with logits \(2, 3\) and students \(3,\), PyTorch with \(3, 3\)"),
    ],
)
def test_what_is_wrong_is_said(answers: tuple[Served, Reference], said: str) -> None:
    with pytest.raises(MoistError, match=said):
        check(answers)


def test_accuracy_is_compared_too() -> None:
    logits = LOGITS.copy()
    logits[2] = [1, 2, 3]
    with pytest.raises(MoistError, match=r"gets 100\.00% of the held-out images right, PyTorch 66\.67%"):
        check((Served(logits, np.array([0, 1, 0])), EXPECTED))
