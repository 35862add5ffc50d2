"""The exported model answers as PyTorch does, whatever the batch, and runs no student that has no image."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from moist.data.batches import normalise
from moist.errors import InputError, MoistError
from moist.models.mixture import Mixture
from moist.models.routers import ClassRouter, Router
from moist.models.specification import MixtureSpec, NetworkSpec, build, router_spec
from moist.models.student import Student
from moist.serving import runtimes
from moist.serving.runtimes import Images, Server
from moist.serving.sparse_onnx import sparse_model
from torch import Tensor, nn

SHAPE = (8, 8, 1)
CLUSTERS = ((0, 5), (1, 4), (2, 3))
STUDENT = NetworkSpec(architecture="student", shape=SHAPE, outputs=6, width=8)
RUNTIMES = ("ONNX Runtime", "OpenVINO")


class FirstPixel(nn.Module):
    """A router whose choice is the first pixel's value, 0-2, so that a test sets it image by image."""

    def forward(self, images: Tensor) -> Tensor:
        return -((images[:, 0, 0, :1] - torch.arange(3.0)) ** 2)


@dataclass(frozen=True)
class Exported:
    """A mixture and its ONNX model; both normalise with the same mean and std."""

    mixture: Mixture
    path: Path
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @torch.inference_mode()
    def by_pytorch(self, images: Images) -> tuple[np.ndarray, np.ndarray]:
        pixels = normalise(torch.from_numpy(images.transpose(0, 3, 1, 2)), self.mean, self.std)
        return self.mixture(pixels).numpy(), self.mixture.sent_to(pixels).numpy()


def exported(mixture: Mixture, folder: Path, mean: float, std: float) -> Exported:
    path = folder / "mixture.onnx"
    path.write_bytes(
        sparse_model(mixture.eval(), SHAPE, (mean,), (std,), {"classes": '["a", "b"]'}).SerializeToString()
    )
    return Exported(mixture, path, (mean,), (std,))


@pytest.fixture(scope="module")
def steered(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A mixture that the first pixel routes: with this mean and std it arrives at the router as it is."""
    torch.manual_seed(0)
    mixture = Mixture(FirstPixel(), [Student(SHAPE, 6, width=8) for _ in CLUSTERS], CLUSTERS)
    return exported(mixture, tmp_path_factory.mktemp("steered"), 0.0, 1 / 255)


def server(runtime: str, path: Path) -> Server:
    pytest.importorskip({"ONNX Runtime": "onnxruntime", "OpenVINO": "openvino"}[runtime])
    return runtimes.installed_runtimes()[runtime](path, 1)


def drawn(count: int, first_pixels: list[int] | None = None) -> Images:
    images = np.random.default_rng(count).integers(0, 256, (count, *SHAPE), np.uint8)
    if first_pixels is not None:
        images[:, 0, 0, 0] = first_pixels
    return images


def same(serve: Server, model: Exported, images: Images) -> None:
    found, (logits, student) = serve(images), model.by_pytorch(images)
    np.testing.assert_array_equal(found.student, student)
    np.testing.assert_allclose(found.logits, logits, rtol=1e-4, atol=1e-4)
    assert found.logits.dtype == np.float32
    assert found.student.dtype == np.int64


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_each_image_gets_its_students_logits_whatever_the_shares(runtime: str, steered: Exported) -> None:
    serve = server(runtime, steered.path)
    for first_pixels in ([0], [1], [2], [2, 0, 1, 1, 0], [1] * 7, [2, 0] * 32, [0, 1, 2, 2] * 16):
        same(serve, steered, drawn(len(first_pixels), first_pixels))


@torch.no_grad()
def level(mixture: Mixture, pixels: Tensor) -> None:
    """Shift the router's last bias so that every student is chosen for some of the images."""
    if isinstance(mixture.router, ClassRouter):
        mixture.router.assign(mixture.student_of_class)
        mixture.router.student.classifier[-1].bias -= mixture.router.student(pixels).mean(0)
        return
    last = [module for module in mixture.modules() if isinstance(module, nn.Linear) and module.out_features == 3][-1]
    last.bias -= mixture.route(pixels).mean(0)


@pytest.mark.parametrize("kind", ["cnn", "transformer", "class", "second student behind shared layers"])
def test_every_router_and_shared_layers(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    layers = 0 if kind in ("cnn", "transformer", "class") else 1
    router = router_spec("head", (4, 4, 32), 3, 8) if layers else router_spec(kind, SHAPE, 3, 8, classes=6)
    mixture = build(MixtureSpec(router=router, student=STUDENT, clusters=CLUSTERS, shared_layers=layers))
    assert isinstance(mixture, Mixture)
    for module in mixture.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
    images = drawn(64)
    pixels = normalise(torch.from_numpy(images.transpose(0, 3, 1, 2)), (0.4,), (0.3,))
    level(mixture.eval(), pixels)
    if layers and isinstance(mixture.router, Router):
        mixture.router.temperature.fill_(0.5)
        certainty = mixture.router.probabilities(mixture.route(pixels)).amax(1).detach()
        mixture.second_below = certainty.sort().values[31:33].mean().item()  # between two images
        assert 0 < (mixture.certainty(pixels) <= mixture.second_below).sum() < 64
    model = exported(mixture, tmp_path, 0.4, 0.3)
    assert len(set(model.by_pytorch(images)[1])) == 3
    for runtime in RUNTIMES:
        serve = server(runtime, model.path)
        same(serve, model, images)
        for image in range(4):
            same(serve, model, images[image : image + 1])


@pytest.mark.parametrize(
    ("clusters", "mirrored"),
    [(CLUSTERS, False), ((tuple(range(6)),), False), ((tuple(range(6)),), True)],
    ids=["three students", "one student", "mirrored images"],
)
def test_a_router_that_answers_itself(clusters: tuple[tuple[int, ...], ...], mirrored: bool, tmp_path: Path) -> None:
    torch.manual_seed(1)
    router = router_spec("class", SHAPE, len(clusters), 8, classes=6)
    mixture = build(
        MixtureSpec(router=router, student=STUDENT, clusters=clusters, router_answers=True, second_mirrored=mirrored)
    )
    assert isinstance(mixture, Mixture)
    images = drawn(64)
    pixels = normalise(torch.from_numpy(images.transpose(0, 3, 1, 2)), (0.4,), (0.3,))
    level(mixture.eval(), pixels)
    with torch.no_grad():
        mixture.second_below = mixture.certainty(pixels).sort().values[31:33].mean().item()  # between two images
    model = exported(mixture, tmp_path, 0.4, 0.3)
    assert set(model.by_pytorch(images)[1]) == {-1, *range(len(clusters))}
    for runtime in RUNTIMES:
        serve = server(runtime, model.path)
        same(serve, model, images)
        for image in range(4):
            same(serve, model, images[image : image + 1])
    # A student's four layers, or those of the student twice and of its router, once for the image and once mirrored.
    graph = onnx.load(model.path).graph
    assert heavy(list(graph.node)) == 4
    assert [heavy(then) for then, _ in branches(graph)] == [12 if mirrored else 4] * len(clusters)


def heavy(nodes: list[onnx.NodeProto]) -> int:
    return sum(node.op_type in ("Conv", "Gemm", "MatMul") for node in nodes)


def branches(graph: onnx.GraphProto) -> Iterator[tuple[list[onnx.NodeProto], list[onnx.NodeProto]]]:
    for node in graph.node:
        if node.op_type == "If":
            then, rest = ({a.name: a.g for a in node.attribute}[name] for name in ("then_branch", "else_branch"))
            yield list(then.node), list(rest.node)


def test_students_run_in_branches_only(steered: Exported) -> None:
    graph = onnx.load(steered.path).graph
    assert heavy(list(graph.node)) == 0, "the router has no such operator"
    found = list(branches(graph))
    assert [heavy(then) for then, _ in found] == [4, 4, 4]
    assert [heavy(rest) for _, rest in found] == [0, 0, 0]
    assert not [tensor.name for tensor in graph.initializer if "students" in tensor.name]


def test_the_same_mixture_gives_the_same_bytes_and_none_tell_of_this_machine(steered: Exported, tmp_path: Path) -> None:
    again = exported(steered.mixture, tmp_path, 0.0, 1 / 255)
    content = steered.path.read_bytes()
    assert again.path.read_bytes() == content
    assert b".py" not in content
    assert b"pkg.torch" not in content


def test_what_it_says_of_itself(steered: Exported) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(steered.path)
    assert session.get_modelmeta().custom_metadata_map == {"classes": '["a", "b"]'}
    (images,) = session.get_inputs()
    assert (images.name, images.type, images.shape) == ("images", "tensor(uint8)", ["batch", *SHAPE])
    outputs = {output.name: (output.type, output.shape) for output in session.get_outputs()}
    assert outputs == {
        "logits": ("tensor(float)", ["batch", 6]),
        "student": ("tensor(int64)", ["batch"]),
        "router_logits": ("tensor(float)", ["batch", 3]),
    }


def test_an_oracle_cannot_serve() -> None:
    mixture = Mixture(None, [Student(SHAPE, 6, width=8) for _ in CLUSTERS], CLUSTERS)
    with pytest.raises(InputError, match=r"routes by the label .* cannot serve"):
        sparse_model(mixture, SHAPE, (0.5,), (0.5,), {})


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_file_that_cannot_run_is_one_sentence(runtime: str, tmp_path: Path, steered: Exported) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(steered.path.read_bytes()[:500])
    with pytest.raises(MoistError, match=rf"^{runtime} cannot run broken\.onnx: .+"):
        server(runtime, broken)
