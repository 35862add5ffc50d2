"""C-DMoE: shapes, where the experts are, that it learns, how alpha is chosen, that probes are of the same network."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from moist.data.dataset import Augmentation, ImageDataset, Split, build
from moist.errors import DamagedArtifactError, DivergedError, InputError
from moist.mode.image_storage import ImageModel, load_image_mixture, save_image_mixture
from moist.mode.results import best_alpha
from moist.mode.vision import VisionTraining, build_image_mixture, probe_images, train_images
from moist.mode.vision_experiment import table_5
from moist.training.images import Images
from torch import nn

CPU = torch.device("cpu")
SMALL = VisionTraining(channels=(4, 8), embedding=16, epochs=4, batch_size=16, learning_rate=0.01)


def stripes(validation: int = 30, augmentation: Augmentation = Augmentation(0, flip=False)) -> ImageDataset:  # noqa: B008 - frozen
    """8x8 images with a bright row (class 0), column (1) or neither (2), on noise."""
    random = np.random.default_rng(0)
    images = random.integers(0, 80, size=(330, 8, 8, 1), dtype=np.uint8)
    labels = np.arange(330) % 3
    for image, label, place in zip(images, labels, random.integers(0, 8, size=330), strict=True):
        if label == 0:
            image[place] = 255
        elif label == 1:
            image[:, place] = 255
    parts = (slice(240), slice(300, 300 + validation), slice(240, 300))
    train, held_out, test = (Split(images[part], labels[part]) for part in parts)
    return build(
        "stripes", ("row", "column", "none"), train, held_out, test, augmentation=augmentation, split_note="",
        source="test",
    )  # fmt: skip


def test_table_5_learns_and_adds_up() -> None:
    said: list[str] = []
    results, model = table_5(stripes(), SMALL, [0.1, 1.0], [0, 1], CPU, said.append)
    assert min(results.single) > 0.8
    assert np.min(results.test) > 0.8
    assert results.alphas == [0.0, 0.1, 1.0]
    assert np.shape(results.test) == np.shape(results.validation) == (2, 3)
    assert [[probe.accuracy for probe in row] for row in results.probes] == np.transpose(results.test).tolist()
    assert all(probe.inputs == 60 for row in results.probes for probe in row)
    assert len(said) == 2 * (1 + 3)
    chosen = results.alphas.index(best_alpha(results.alphas, results.validation, [0.1, 1.0]))
    assert probe_images(model, stripes(), stripes().test, SMALL) == results.probes[chosen][0]


class Kept:
    """Checkpoints that are always due, as another process reads them."""

    def __init__(self) -> None:
        self.file = b""

    def load(self) -> dict[str, Any] | None:
        return torch.load(io.BytesIO(self.file), weights_only=True) if self.file else None

    def due(self, finished: bool = False) -> bool:
        return True

    def save(self, state: dict[str, Any]) -> None:
        written = io.BytesIO()
        torch.save(state, written)
        self.file = written.getvalue()


def test_table_5_goes_on_with_the_network_that_it_was_at() -> None:
    quick, kept, said = SMALL.model_copy(update={"epochs": 1}), Kept(), list[str]()

    def say(line: str) -> None:
        if len(said) == 4:
            raise KeyboardInterrupt
        said.append(line)

    how = (stripes(), quick, [0.1, 1.0], [0, 1], CPU)
    with pytest.raises(KeyboardInterrupt):
        table_5(*how, say, kept)
    assert not (kept.load() or {})["finished"]
    rest: list[str] = []
    resumed, model = table_5(*how, rest.append, kept)
    whole, expected = table_5(*how, lambda _: None)
    assert len(rest) == 4, "of eight networks four were known"
    assert (kept.load() or {})["finished"], "another run trains anew"
    assert resumed.model_copy(update={"seconds": whole.seconds}) == whole
    for name, value in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


def test_alpha_is_chosen_on_validation_images_among_those_offered() -> None:
    validation = [[0.99, 0.7, 0.8, 0.9], [0.99, 0.9, 0.8, 0.5]]
    assert best_alpha([0.0, 0.1, 1.0, 10.0], validation, [0.1, 1.0, 10.0]) == 0.1
    assert best_alpha([0.0, 0.1, 1.0, 10.0], validation, [10.0, 0.0]) == 10.0
    with pytest.raises(InputError, match="none of those to choose from"):
        best_alpha([0.0, 0.1], validation, [0.2])


def test_training_is_decided_by_its_seed() -> None:
    quick, data = SMALL.model_copy(update={"epochs": 1}), stripes(augmentation=Augmentation(1, flip=True))
    first, again, other = (train_images(data, quick, 1.0, seed, CPU)[0].state_dict() for seed in (3, 3, 4))
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


def test_resnet18_is_an_expert_with_the_papers_embedding() -> None:
    model = build_image_mixture(VisionTraining(network="resnet18"), (32, 32, 3), 10)
    resnet = 11_173_962 - (512 * 10 + 10)  # the paper's CIFAR ResNet-18 without its last layer
    gate, layer, head = 3072 * 2 + 2, 512 * 128 + 128, 128 * 10 + 10
    assert sum(parameter.numel() for parameter in model.parameters()) == 2 * (resnet + layer) + gate + head
    logits, output = model.eval()(torch.zeros(2, 3, 32, 32))
    assert (logits.shape, output.expert_outputs.shape) == ((2, 10), (2, 2, 128))


def test_distillation_draws_the_experts_embeddings_together() -> None:
    def apart(alpha: float) -> float:
        model, _ = train_images(stripes(), SMALL, alpha, 0, CPU)
        images = Images(stripes(), stripes().test, CPU)
        with torch.no_grad():
            embeddings = model(images.view(torch.arange(60), 0))[1].expert_outputs
        return float((embeddings[:, 0] - embeddings[:, 1]).square().mean() / embeddings.square().mean())

    assert apart(1.0) < 0.3 * apart(0.0)


def test_probe_masks_through_the_head() -> None:
    data = stripes()
    torch.manual_seed(0)
    model = build_image_mixture(SMALL, (8, 8, 1), 3).eval()
    probe = probe_images(model, data, data.test, SMALL, batch_size=7)
    logits, output = model(Images(data, data.test, CPU).view(torch.arange(60), 0))
    dominating = output.weights.argmax(dim=1)
    masked = model.head(output.expert_outputs[torch.arange(60), dominating]).argmax(dim=1)
    assert probe.correct == int((logits.argmax(dim=1).numpy() == data.test.labels).sum())
    assert probe.masked_correct == int((masked.numpy() == data.test.labels).sum())


def test_settings_that_cannot_be_used() -> None:
    with pytest.raises(InputError, match="2 alphas are to be chosen from, but stripes has no validation images"):
        table_5(stripes(validation=0), SMALL, [0.1, 1.0], [0], CPU)
    with pytest.raises(InputError, match=r"alphas \[0.0\]: give at least one of each, and alphas above 0"):
        table_5(stripes(), SMALL, [0.0], [0], CPU)
    with pytest.raises(InputError, match="a distillation strength is 0 or more"):
        train_images(stripes(), SMALL, float("nan"), 0, CPU)
    with pytest.raises(DivergedError, match=r"Seed 0 with alpha 1e\+30: The loss became"):
        train_images(stripes(), SMALL.model_copy(update={"learning_rate": 1e20}), 1e30, 0, CPU)


def test_a_saved_mixture_answers_as_before(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, data = build_image_mixture(SMALL, (8, 8, 1), 3).eval(), stripes()
    description = ImageModel(
        training=SMALL, shape=data.shape, classes=data.classes, mean=data.mean, std=data.std, alpha=0.1, seed=0
    )
    save_image_mixture(model, description, tmp_path / "mixture")
    again, said = load_image_mixture(tmp_path / "mixture")
    assert said == description
    assert probe_images(again, data, data.test, said.training) == probe_images(model, data, data.test, SMALL)
    weights = tmp_path / "mixture" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(DamagedArtifactError, match="does not hold a mixture for images"):
        load_image_mixture(tmp_path / "mixture")
