"""What predictions say: accuracy, calibration, confusion, temperature."""

import pytest
import torch
from moist.training import evaluation


def test_confusion_has_the_truth_in_its_rows() -> None:
    truth, predicted = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 1, 0])
    assert evaluation.confusion(predicted, truth, 3, 3) == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    sure = torch.tensor([[0.9, 0.1]]).repeat(10, 1)
    labels = torch.tensor([0] * 6 + [1] * 4)
    found = evaluation.reliability(sure, labels)
    assert found["ece"] == pytest.approx(0.3, abs=1e-6)
    assert sum(found["count"]) == 10
    assert evaluation.reliability(torch.eye(2), torch.tensor([0, 1]))["ece"] == pytest.approx(0)


def test_the_temperature_undoes_overconfidence() -> None:
    generator = torch.Generator().manual_seed(0)
    honest = torch.randn(4000, 3, generator=generator)
    labels = torch.multinomial(honest.softmax(1), 1, generator=generator).squeeze(1)
    assert evaluation.fit_temperature(honest * 4, labels) == pytest.approx(4, rel=0.1)
    always_right = torch.nn.functional.one_hot(labels, honest.shape[1]).double()
    assert evaluation.fit_temperature(always_right, labels) == 1.0


def test_loss_is_in_nats() -> None:
    assert evaluation.loss(torch.zeros(5, 4), torch.tensor([0, 1, 2, 3, 0])) == pytest.approx(1.386294, abs=1e-5)
