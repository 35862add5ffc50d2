"""The cascade: who is asked about what, what it costs, and that it ends at the expensive model."""

import pytest
import torch
from moist.training.cascade import SHARES, cascade, second_look

LABELS = torch.tensor([0, 1, 0, 1])
# Sureness falls from image 0 to image 3; images 2 and 3 are wrong.
OWN = torch.tensor([[5.0, 0.0], [0.0, 3.0], [0.0, 2.0], [1.0, 0.0]])
ASKED = torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])


def test_the_images_of_which_the_model_is_least_sure_are_asked_first() -> None:
    points = cascade(OWN, ASKED, LABELS, own_macs=10, asked_macs=100, shares=(0.0, 0.25, 0.5, 0.75, 1.0))
    assert [point.accuracy for point in points] == [0.5, 0.75, 1.0, 1.0, 0.75]
    assert [point.macs for point in points] == [10, 35, 60, 85, 110]


def test_the_curve_starts_at_the_cheap_model_and_ends_at_the_expensive_one() -> None:
    torch.manual_seed(0)
    labels, own, asked = torch.randint(5, (203,)), torch.randn(203, 5), torch.randn(203, 5)
    points = cascade(own, asked, labels, own_macs=6, asked_macs=29)
    assert [point.share for point in points] == list(SHARES)
    assert points[0] == (0.0, pytest.approx(float((own.argmax(1) == labels).double().mean())), 6)
    assert points[-1] == (1.0, pytest.approx(float((asked.argmax(1) == labels).double().mean())), 35)
    # What a point costs follows from how many images it asks about, not from the share that was wished for.
    assert points[1].macs == 6 + round(0.02 * 203) / 203 * 29


def test_a_second_look_is_averaged_in_where_the_first_is_least_sure() -> None:
    # Image 3: the second look outweighs the first. Image 2: it does not. Image 1 and 0 are never looked at again.
    again = torch.tensor([[0.0, 9.0], [9.0, 0.0], [0.1, 0.0], [0.0, 9.0]])
    points = second_look(OWN, again, LABELS, macs=10, shares=(0.0, 0.25, 0.5))
    assert [point.accuracy for point in points] == [0.5, 0.75, 0.75]
    assert [point.macs for point in points] == [10, 12.5, 15]


def test_looking_twice_at_the_same_changes_nothing_but_the_cost() -> None:
    torch.manual_seed(0)
    labels, logits = torch.randint(5, (203,)), torch.randn(203, 5)
    points = second_look(logits, logits, labels, macs=6)
    assert len({point.accuracy for point in points}) == 1
    assert points[-1].macs == 12
