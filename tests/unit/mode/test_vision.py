"""C-DMoE: shapes, spaces and bad images; that it learns, and that its probe is that of the same network."""

import numpy as np
import pytest
import torch
from moist.errors import InputError
from moist.mode.vision import (
    Images,
    VisionTraining,
    as_input,
    build_image_mixture,
    probe_images,
    table_5_row,
    train_images,
)
from torch import nn

SMALL = VisionTraining(channels=(4, 8), embedding=16, epochs=4, batch_size=16, learning_rate=0.01)


@pytest.fixture
def stripes() -> Images:
    """8x8 images with a bright row (class 0), column (1) or neither (2), on noise."""
    random = np.random.default_rng(0)
    images = random.integers(0, 80, size=(300, 8, 8, 1), dtype=np.uint8)
    labels = np.arange(300) % 3
    for image, label, place in zip(images, labels, random.integers(0, 8, size=300), strict=True):
        if label == 0:
            image[place] = 255
        elif label == 1:
            image[:, place] = 255
    return Images("stripes", images[:240], labels[:240], images[240:], labels[240:], 3)


def test_table_5_learns_and_adds_up(stripes: Images) -> None:
    row = table_5_row(stripes, SMALL, [0, 1], alpha=0.1)
    assert min(row.single.mean, row.moe.mean, row.mode.mean) > 0.8
    assert [probe.accuracy for probe in row.mode_probes] == row.mode.values
    assert row.mode_over_moe.mean == pytest.approx(row.mode.mean - row.moe.mean)
    assert all(probe.inputs == 60 for probe in row.moe_probes)


def test_training_is_decided_by_its_seed(stripes: Images) -> None:
    quick = SMALL.model_copy(update={"epochs": 1})
    first, again, other = (train_images(stripes, quick, 1.0, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 6, 3)])
def test_shapes_and_where_the_experts_are(shared: bool, shape: tuple[int, int, int]) -> None:
    model = build_image_mixture(SMALL.model_copy(update={"shared_trunk": shared}), shape, 5)
    logits, output = model(torch.randn(3, shape[2], shape[0], shape[1]))
    assert logits.shape == (3, 5)
    assert output.expert_outputs.shape == (3, 2, 16)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == (2 if shared else 4)


def test_another_network_can_be_the_expert() -> None:
    model = build_image_mixture(
        SMALL, (8, 8, 3), 5, cnn=lambda: nn.Sequential(nn.Conv2d(3, 7, 3), nn.AdaptiveAvgPool2d(1))
    )
    assert model(torch.randn(2, 3, 8, 8))[0].shape == (2, 5)


def test_probe_masks_through_the_head(stripes: Images) -> None:
    torch.manual_seed(0)
    model = build_image_mixture(SMALL, (8, 8, 1), 3).eval()
    probe = probe_images(model, stripes, batch_size=7)
    x = as_input(stripes.test, torch.device("cpu"))
    logits, output = model(x)
    dominating = output.weights.argmax(dim=1)
    masked = model.head(output.expert_outputs[torch.arange(60), dominating]).argmax(dim=1)
    assert probe.correct == int((logits.argmax(dim=1).numpy() == stripes.test_labels).sum())
    assert probe.masked_correct == int((masked.numpy() == stripes.test_labels).sum())


def test_pixels_become_minus_one_to_one() -> None:
    pixels = np.zeros((1, 2, 2, 1), dtype=np.uint8)
    pixels[0, 0, 1] = 255
    assert as_input(pixels, torch.device("cpu")).flatten().tolist() == [-1, 1, -1, -1]


def test_bad_images(stripes: Images) -> None:
    with pytest.raises(InputError, match="are float64"):
        train_images(stripes._replace(train=stripes.train / 255), SMALL, 0, 0)
    with pytest.raises(InputError, match="240 training images, but labels of shape"):
        train_images(stripes._replace(train_labels=stripes.train_labels[1:]), SMALL, 0, 0)
    with pytest.raises(InputError, match="run from 0 to 2, but there are 2 classes"):
        train_images(stripes._replace(classes=2), SMALL, 0, 0)
    with pytest.raises(InputError, match="3x3: the CNN halves them twice"):
        build_image_mixture(SMALL, (3, 3, 1), 2)
