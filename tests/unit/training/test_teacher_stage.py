"""train_teacher on smaller images first: what is shown when, and what that costs."""

from pathlib import Path

import pytest
import torch
from moist.data import dataset as image_dataset
from moist.errors import InputError
from moist.models.storage import load_description
from moist.stages.train_teacher.program import train_teacher
from moist.stages.train_teacher.settings import Settings
from moist.training.record import read_steps
from moist.training.resolution import resized, size_in
from tiny import tiny_dataset


@pytest.mark.parametrize(
    ("reduced", "sides"),
    [
        (0.0, [32] * 8),
        (0.75, [16, 16, 16, 24, 24, 24, 32, 32]),
        (0.5, [16, 16, 24, 24, 32, 32, 32, 32]),
        (1.0, [16] * 4 + [24] * 4),
    ],
)
def test_the_early_epochs_are_smaller(reduced: float, sides: list[int]) -> None:
    assert [size_in(32, 32, epoch, 8, reduced) for epoch in range(1, 9)] == [(side, side) for side in sides]


def test_height_and_width_keep_their_proportion() -> None:
    assert size_in(28, 20, 1, 4, 1.0) == (14, 10)
    assert size_in(1, 3, 1, 4, 1.0) == (1, 2)


def test_resized_images_are_smoothed_and_their_own_size_is_left_alone() -> None:
    images = torch.rand(2, 3, 8, 8)
    assert resized(images, (8, 8)) is images
    checkerboard = (torch.arange(8)[:, None] + torch.arange(8)) % 2
    small = resized(checkerboard.float().view(1, 1, 8, 8), (4, 4))
    assert small.shape == (1, 1, 4, 4)
    torch.testing.assert_close(small, torch.full_like(small, 0.5), atol=0.1, rtol=0)  # aliased, it would be 0 or 1


def trained(folder: Path, **changes: object) -> tuple[float, list[float]]:
    """Multiply-adds that the teacher's training is on record with, and its losses."""
    folder.mkdir()
    image_dataset.save(tiny_dataset(), folder / "dataset")
    (folder / "metrics").mkdir()
    outputs = {name: folder / name for name in ("teacher", "logits", "metrics")}
    settings = Settings.model_validate({"epochs": 2, "views": 0, **changes})
    train_teacher(settings, dataset=folder / "dataset", curves=folder / "curves.html", **outputs)
    (step,) = read_steps(load_description(folder / "teacher").extra)
    return step.macs, step.series["loss"]


def test_smaller_images_are_on_record_with_what_they_cost(tmp_path: Path) -> None:
    whole, losses = trained(tmp_path / "whole")
    half, other = trained(tmp_path / "half", reduced=0.5)  # epoch 1 at half the size
    assert whole / 2 < half < 0.7 * whole
    assert losses != other


def test_the_optimizer_is_a_setting(tmp_path: Path) -> None:
    found = [trained(tmp_path / name, optimizer=name)[1] for name in ("adamw", "sgd", "muon")]
    assert len({str(each) for each in found}) == 3


def test_cutout_changes_what_is_learned_and_not_what_it_costs(tmp_path: Path) -> None:
    (whole, losses), (hidden, others) = trained(tmp_path / "whole"), trained(tmp_path / "hidden", cutout=3)
    assert whole == hidden
    assert losses != others


def test_smoothed_labels_cost_even_a_right_answer_something(tmp_path: Path) -> None:
    (_, plain), (_, smoothed) = (
        trained(tmp_path / str(share), epochs=6, label_smoothing=share) for share in (0.0, 0.5)
    )
    # Four classes, of which the right one has 0.5 + 0.5 / 4 and each other 0.5 / 4: no loss is below their entropy.
    assert plain[-1] < 1.07 < min(smoothed)


def test_cutout_that_would_hide_everything_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cutout=8 would hide whole images of 8x8 pixels"):
        trained(tmp_path / "blank", cutout=8)
