"""Cutout: what is hidden, and what is left alone."""

import torch
from moist.training.cutout import cutout


def test_a_square_of_each_image_is_hidden() -> None:
    torch.manual_seed(0)
    images = torch.rand(3000, 3, 12, 10) + 1
    shown = cutout(images, 4)
    hidden = shown == 0
    assert torch.equal(shown[~hidden], images[~hidden])
    assert torch.equal(hidden, hidden[:, :1].expand_as(hidden)), "all channels alike"
    rows, columns = hidden[:, 0].any(2).sum(1), hidden[:, 0].any(1).sum(1)
    assert torch.equal(hidden[:, 0].sum((1, 2)), rows * columns), "a rectangle"
    assert (rows.unique().tolist(), columns.unique().tolist()) == ([2, 3, 4], [2, 3, 4])  # some stick out
    assert len({tuple(mask) for mask in hidden[:, 0].flatten(1).tolist()}) == 12 * 10, "every place is drawn"
    assert hidden[:, 0].any(0).all(), "no pixel is safe"


def test_every_pixel_is_hidden_as_often_but_at_the_edges() -> None:
    torch.manual_seed(0)
    share = (cutout(torch.ones(20_000, 1, 16, 16), 5)[:, 0] == 0).double().mean(0)
    inside = share[2:-2, 2:-2]
    torch.testing.assert_close(inside, torch.full_like(inside, 25 / 256), atol=0.012, rtol=0)
    assert share[0, 0] < 0.7 * 25 / 256


def test_nothing_is_hidden_where_nothing_is_asked_for() -> None:
    images, before = torch.rand(2, 3, 8, 8), torch.get_rng_state()
    assert cutout(images, 0) is images
    assert torch.equal(torch.get_rng_state(), before), "other runs draw what they drew without it"
