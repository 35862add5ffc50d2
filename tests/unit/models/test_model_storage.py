"""A saved model comes back bit for bit, the same model gives the same bytes, and damage is named."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from moist.errors import DamagedArtifactError, InputError
from moist.models.mixture import Mixture
from moist.models.specification import ARCHITECTURES, MixtureSpec, NetworkSpec, build
from moist.models.storage import check_fits, load_description, load_model, save_model
from safetensors.torch import load_file, save_file

SHAPE = (8, 8, 1)
STUDENT = NetworkSpec(architecture="student", shape=SHAPE, outputs=4, width=8, channels=(2, 4))
ROUTER = NetworkSpec(architecture="cnn_router", shape=SHAPE, outputs=2)
MIXTURE = MixtureSpec(router=ROUTER, student=STUDENT, clusters=((0, 3), (1, 2)))
HEAD = NetworkSpec(architecture="head_router", shape=(4, 4, 2), outputs=2)


@pytest.mark.parametrize(
    "spec",
    [
        *(NetworkSpec(architecture=name, shape=SHAPE, outputs=4) for name in ARCHITECTURES if name != "resnet18"),
        STUDENT,
        MIXTURE,
        MIXTURE.model_copy(update={"router": None}),
        MIXTURE.model_copy(update={"router": HEAD, "shared_layers": 1}),
    ],
    ids=lambda spec: spec.architecture if isinstance(spec, NetworkSpec) else f"mixture {spec.router is not None}",
)
def test_round_trip(spec: NetworkSpec | MixtureSpec, tmp_path: Path) -> None:
    model = build(spec).train()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_(torch.rand_like(tensor) / 4 if tensor.is_floating_point() else torch.full_like(tensor, 7))
    extra = {"epochs": 3, "accuracy": 0.5, "note": None}
    save_model(tmp_path / "deep" / "folder", model.to(memory_format=torch.channels_last), spec, extra)
    random_state = torch.get_rng_state()
    loaded = load_model(tmp_path / "deep" / "folder")
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not loaded.training
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    wanted = model.state_dict()
    assert loaded.state_dict().keys() == wanted.keys()
    assert all(torch.equal(wanted[name], tensor) for name, tensor in loaded.state_dict().items())
    images = torch.rand(3, 1, 8, 8)
    if isinstance(loaded, Mixture) and loaded.router is None:
        loaded, model = loaded.students[1], model.students[1]
    # In double precision: the two differ in memory layout, and random weights make outputs that magnify rounding.
    found, wanted_output = (each.double().eval()(images.double()) for each in (loaded, model))
    torch.testing.assert_close(found, wanted_output)
    description = load_description(tmp_path / "deep" / "folder")
    assert description.spec == spec
    assert description.extra == extra


def test_values_of_many_epochs_are_kept(tmp_path: Path) -> None:
    """Those of every step that led to a model; a control trains as long as all steps of a mixture together."""
    spec = NetworkSpec(architecture="student", shape=(8, 8, 1), outputs=4, width=8)
    series = {
        name: [1 / (1 + epoch) for epoch in range(40_000)] for name in ("loss", "accuracy", "validation_accuracy")
    }
    save_model(tmp_path, build(spec), spec, {"series": series})
    assert load_description(tmp_path).extra == {"series": series}
    load_model(tmp_path)


def test_loaded_mixture_knows_its_clusters(tmp_path: Path) -> None:
    save_model(tmp_path, build(MIXTURE), MIXTURE)
    loaded = load_model(tmp_path, expect="mixture")
    assert isinstance(loaded, Mixture)
    assert loaded.clusters == ((0, 3), (1, 2))
    assert loaded.student_of_class.tolist() == [0, 1, 1, 0]


def test_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, extra in (("a", {"x": 1, "y": [2]}), ("b", {"y": [2], "x": 1})):
        torch.manual_seed(0)
        save_model(tmp_path / name, build(MIXTURE), MIXTURE, extra)
    for file in ("model.safetensors", "model.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_other_kind_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path, build(STUDENT), STUDENT)
    assert load_model(tmp_path, expect="student")
    with pytest.raises(DamagedArtifactError, match="expected a mixture, found a student"):
        load_model(tmp_path, expect="mixture")
    save_model(tmp_path, build(MIXTURE), MIXTURE)
    with pytest.raises(DamagedArtifactError, match="expected a teacher, found a mixture"):
        load_model(tmp_path, expect="teacher")


@pytest.mark.parametrize("spec", [STUDENT, MIXTURE])
def test_a_model_of_other_images_or_classes_is_refused(spec: NetworkSpec | MixtureSpec, tmp_path: Path) -> None:
    save_model(tmp_path, build(spec), spec)
    network = spec.student if isinstance(spec, MixtureSpec) else spec
    height, width, channels = network.shape
    check_fits(tmp_path, network.shape, network.outputs)
    with pytest.raises(DamagedArtifactError, match=f"was made for images of {height}x{width}x{channels} and"):
        check_fits(tmp_path, (height, width, channels + 1), network.outputs)
    with pytest.raises(DamagedArtifactError, match=f"and {network.outputs} outputs, the data set has .* 99 classes"):
        check_fits(tmp_path, network.shape, 99)


@pytest.mark.parametrize("extra", [{"loss": float("nan")}, {"path": Path()}])
def test_extra_must_be_finite_json(extra: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="JSON"):
        save_model(tmp_path / "model", build(STUDENT), STUDENT, extra)
    assert not (tmp_path / "model").exists()


def test_model_that_is_not_what_its_spec_says_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"classifier.1.weight has shape \(8, 16\), not \(9, 16\)"):
        save_model(tmp_path / "model", build(STUDENT), STUDENT.model_copy(update={"width": 9}))
    assert not (tmp_path / "model").exists()


def _redigest(folder: Path) -> None:
    """Make the description agree with the weights again, as an attacker would."""
    content = json.loads((folder / "model.json").read_text())
    content["sha256"] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    (folder / "model.json").write_text(json.dumps(content))


def _change_tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")
        _redigest(folder)

    return damage


def _change_bytes(change: Callable[[bytes], bytes], redigest: bool = True) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(change(path.read_bytes()))
        if redigest:
            _redigest(folder)

    return damage


def _change_description(**changes: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "model.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return damage


BIAS = "classifier.3.bias"
SPEC = {"architecture": "student", "shape": [8, 8, 1], "outputs": 4, "width": 8, "channels": [2, 4]}


@pytest.mark.parametrize(
    ("damage", "file", "reason"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors", "cannot be read: No such file"),
        (_change_bytes(lambda data: data[:-3], redigest=False), "model.safetensors", "digest"),
        (_change_bytes(lambda data: data[:-1] + bytes([data[-1] ^ 1]), redigest=False), "model.safetensors", "digest"),
        (_change_bytes(lambda data: data[:-3]), "model.safetensors", "not a valid"),
        (_change_bytes(lambda data: b""), "model.safetensors", "not a valid"),
        (_change_bytes(lambda data: data[:20]), "model.safetensors", "not a valid"),
        (_change_bytes(lambda data: b"\xff" * 8 + data[8:]), "model.safetensors", "not a valid"),
        (
            _change_bytes(lambda data: data.replace(b'"F32"', b'"F64"', 1)),
            "model.safetensors",
            "not a valid",
        ),
        (
            _change_bytes(lambda data: data.replace(b"[4,8]", b"[9,8]", 1)),
            "model.safetensors",
            "not a valid",
        ),
        (_change_bytes(lambda data: data + bytes(2**20 + 1)), "model.safetensors", "at most"),
        (_change_tensors(lambda tensors: tensors.pop(BIAS)), "model.safetensors", f"{BIAS} is missing"),
        (_change_tensors(lambda tensors: tensors.update(odd=torch.ones(1))), "model.safetensors", "odd is unexpected"),
        (_change_tensors(lambda tensors: tensors.update({BIAS: torch.ones(3)})), "model.safetensors", r"shape \(3,\)"),
        (_change_tensors(lambda tensors: tensors.update({BIAS: torch.ones(4).half()})), "model.safetensors", "float16"),
        (lambda folder: (folder / "model.json").unlink(), "model.json", "cannot be read: No such file"),
        (lambda folder: (folder / "model.json").write_text("{"), "model.json", "Invalid JSON"),
        (lambda folder: (folder / "model.json").write_bytes(b"\xff\xfe"), "model.json", "Invalid JSON"),
        (lambda folder: (folder / "model.json").write_text("[" * 500_000), "model.json", "Invalid JSON"),
        (lambda folder: (folder / "model.json").write_text(" " * (2**24 + 1)), "model.json", "at most 16,777,216"),
        (_change_description(kind="pickle"), "model.json", "kind"),
        (_change_description(format=2), "model.json", "format"),
        (_change_description(surprise=1), "model.json", "surprise"),
        (_change_description(sha256="0" * 64), "model.safetensors", "digest"),
        (_change_description(spec={**SPEC, "width": 10**12}), "model.json", "width"),
        (_change_description(spec={**SPEC, "architecture": "vgg"}), "model.json", "unknown architecture 'vgg'"),
        (_change_description(spec={**SPEC, "architecture": "resnet18"}), "model.json", "no option 'width'"),
        (
            _change_description(spec={**SPEC, "shape": [256, 256, 1], "width": 16384, "channels": [1024, 1024]}),
            "model.json",
            "at most",
        ),
    ],
)
def test_damage_is_named(damage: Callable[[Path], object], file: str, reason: str, tmp_path: Path) -> None:
    save_model(tmp_path, build(STUDENT), STUDENT)
    assert load_model(tmp_path)
    damage(tmp_path)
    with pytest.raises(DamagedArtifactError, match=f"{file}.*{reason}"):
        load_model(tmp_path)
