"""Batches: augmented views equal a per-sample reference, the same seed the same view, normalising the formula."""

import numpy as np
import pytest
import torch
from moist.data.batches import augment, epoch_order, normalise, to_tensors, view_parameters
from moist.data.dataset import Augmentation, ImageDataset, Split
from moist.training.images import Images
from official_formats import colour

CIFAR = Augmentation(padding=4, flip=True)


def reference(image: np.ndarray, dy: int, dx: int, flip: bool, padding: int) -> np.ndarray:
    """Pad (H, W, C) with zeros, cut the window out, then mirror it."""
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    height, width = image.shape[:2]
    window = padded[padding + dy : padding + dy + height, padding + dx : padding + dx + width]
    return window[:, ::-1] if flip else window


@pytest.mark.parametrize(("shape", "padding"), [((32, 32, 3), 4), ((5, 8, 1), 2), ((8, 8, 1), 0)])
def test_augment_equals_the_reference(shape: tuple[int, int, int], padding: int) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(1, 256, (300, *shape), np.uint8)
    parameters = view_parameters(300, Augmentation(padding, True), seed=3, view=1)
    indices = torch.from_numpy(rng.permutation(300)[:200])
    shown = augment(torch.from_numpy(images)[indices], indices, parameters, padding)
    assert shown.dtype == torch.uint8
    assert shown.is_contiguous()
    dy, dx, flip = (value.tolist() for value in parameters)
    for row, index in enumerate(indices.tolist()):
        expected = reference(images[index], dy[index], dx[index], flip[index], padding)
        np.testing.assert_array_equal(shown[row].numpy(), expected)


def test_view_zero_is_the_plain_image() -> None:
    images, _ = to_tensors(Split(*colour(20)), "cpu")
    parameters = view_parameters(20, CIFAR, seed=3, view=0)
    assert torch.equal(augment(images, torch.arange(20), parameters, 4), images)


def test_a_view_depends_on_seed_and_view_alone() -> None:
    one = view_parameters(1000, CIFAR, seed=1, view=2)
    torch.manual_seed(99)
    again = view_parameters(1000, CIFAR, seed=1, view=2)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    for seed, view in ((2, 1), (1, 3), (2, 2)):
        other = view_parameters(1000, CIFAR, seed=seed, view=view)
        assert not torch.equal(one.dx, other.dx)
        assert not torch.equal(one.flip, other.flip)


def test_drawing_a_view_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    view_parameters(10, CIFAR, seed=0, view=1)
    epoch_order(10, seed=0, epoch=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_shifts_cover_the_padding_and_half_are_flipped() -> None:
    dy, dx, flip = view_parameters(10_000, CIFAR, seed=0, view=1)
    for shift in (dy, dx):
        assert shift.dtype == torch.int64
        counts = torch.bincount(shift + 4, minlength=9)
        assert len(counts) == 9
        assert (counts / 10_000 - 1 / 9).abs().max() < 0.02
    assert not torch.equal(dy, dx)
    assert flip.float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert abs(torch.corrcoef(torch.stack([dy.float(), flip.float()]))[0, 1]) < 0.05
    assert not view_parameters(1000, Augmentation(4, False), seed=0, view=1).flip.any()


def test_normalise_is_the_formula_and_keeps_the_format() -> None:
    images = to_tensors(Split(*colour(20)), "cpu")[0].permute(0, 3, 1, 2).contiguous()
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    expected = (images.numpy() / 255 - np.reshape(mean, (1, 3, 1, 1))) / np.reshape(std, (1, 3, 1, 1))
    result = normalise(images, mean, std)
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-6)
    assert torch.equal(normalise(images, torch.tensor(mean), torch.tensor(std)), result)
    last = normalise(images.contiguous(memory_format=torch.channels_last), mean, std)
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(last, result)


@pytest.mark.parametrize("view", [0, 2])
def test_images_are_augmented_normalised_and_channels_last(view: int) -> None:
    train, (mean, std) = Split(*colour(20)), ((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
    few = train[np.arange(3)]
    data = ImageDataset("colour", ("a", "b"), train, few, few, mean, std, CIFAR, split_note="", source="")
    indices = torch.tensor([7, 0, 19])
    pixels = augment(to_tensors(train, "cpu")[0][indices], indices, view_parameters(20, CIFAR, 5, view), CIFAR.padding)
    shown = Images(data, train, torch.device("cpu"), view_seed=5).view(indices, view)
    assert torch.equal(shown, normalise(pixels.permute(0, 3, 1, 2), mean, std))
    assert shown.is_contiguous(memory_format=torch.channels_last)


def test_tensors_are_copies() -> None:
    images, labels = colour(20)
    images.setflags(write=False)
    labels.setflags(write=False)
    tensors, targets = to_tensors(Split(images, labels), "cpu")
    np.testing.assert_array_equal(tensors.numpy(), images)
    tensors[0] = 255 - tensors[0]
    assert not np.array_equal(tensors.numpy(), images)
    assert targets.dtype == torch.int64
    targets[0] = 5
    assert labels[0] == 0


def test_an_epoch_order_is_a_reproducible_permutation() -> None:
    order = epoch_order(1000, seed=1, epoch=2)
    assert torch.equal(order.sort().values, torch.arange(1000))
    assert torch.equal(order, epoch_order(1000, seed=1, epoch=2))
    for seed, epoch in ((1, 3), (2, 1), (2, 2)):
        assert not torch.equal(order, epoch_order(1000, seed=seed, epoch=epoch))
