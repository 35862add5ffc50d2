"""Models on disk: a folder of `model.safetensors` (weights) and `model.json` (what they are); never pickle."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from moist.errors import DamagedArtifactError, InputError
from moist.frozen import Frozen
from moist.models.specification import MixtureSpec, NetworkSpec, Role, skeleton

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
MAX_HEADER_BYTES = 2**20
MAX_JSON_BYTES = 2**24
"""Every step that led to a model is kept with it, each with its values of every epoch: some 100 bytes an epoch."""


class _Description(Frozen):
    format: Literal[1] = 1
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="digest of the weights")
    extra: dict[str, JsonValue] = Field(default={}, description="what the writer adds: epochs, accuracy, ...")


class NetworkDescription(_Description):
    """`model.json` of a single network."""

    kind: Literal["network"] = "network"
    spec: NetworkSpec


class MixtureDescription(_Description):
    """`model.json` of a mixture."""

    kind: Literal["mixture"] = "mixture"
    spec: MixtureSpec


Description = NetworkDescription | MixtureDescription
_DESCRIPTION: TypeAdapter[Description] = TypeAdapter(Annotated[Description, Field(discriminator="kind")])


def save_model(
    folder: Path, module: nn.Module, spec: NetworkSpec | MixtureSpec, extra: Mapping[str, Any] | None = None
) -> None:
    """Write `module`, which `spec` describes, into `folder`; the same model and `extra` give the same bytes.

    `extra` is kept with the model (JSON values, finite numbers).

    Raises:
        InputError: the module's tensors are not the ones that `spec` describes, or `extra` is not JSON.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    problem = _difference(skeleton(spec).state_dict(), state)
    if problem:
        raise InputError(f"the model does not fit its specification: {problem}")
    weights = save_tensors(state)
    content = {"sha256": hashlib.sha256(weights).hexdigest(), "extra": dict(extra or {}), "spec": spec}
    try:
        description: Description = (
            NetworkDescription.model_validate(content)
            if isinstance(spec, NetworkSpec)
            else MixtureDescription.model_validate(content)
        )
        text = json.dumps(description.model_dump(mode="json"), sort_keys=True, allow_nan=False)
    except ValueError as error:
        raise InputError(f"what is to be kept with the model is not plain JSON with finite numbers: {error}") from error
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(weights)
    (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")


def load_description(folder: Path, expect: Role | Literal["mixture"] | None = None) -> Description:
    """What the model in `folder` is (`spec`) and what was kept with it (`extra`), without its weights.

    Raises:
        DamagedArtifactError: `model.json` is missing, too large, not valid, or describes something else than `expect`.
    """
    path = folder / DESCRIPTION
    data = _read(path, MAX_JSON_BYTES)
    try:
        description = _DESCRIPTION.validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "as a whole"
        raise DamagedArtifactError(f"{path} is not a model description ({where}): {first['msg']}") from error
    except InputError as error:
        raise DamagedArtifactError(f"{path} describes a model that cannot be: {error}") from error
    found = "mixture" if isinstance(description, MixtureDescription) else description.spec.role
    if expect is not None and found != expect:
        raise DamagedArtifactError(f"{folder}: expected a {expect}, found a {found}")
    return description


def check_fits(folder: Path, shape: tuple[int, int, int], classes: int) -> None:
    """Whether the model in `folder` takes images of `shape` (height, width, channels) and knows that many classes.

    Raises:
        DamagedArtifactError: it was made for other data; or as `load_description`.
    """
    spec = load_description(folder).spec
    network = spec.student if isinstance(spec, MixtureSpec) else spec
    if (*network.shape, network.outputs) != (*shape, classes):
        raise DamagedArtifactError(
            f"{folder} was made for images of {'x'.join(map(str, network.shape))} and {network.outputs} outputs, the "
            f"data set has {'x'.join(map(str, shape))} and {classes} classes: pass a model and a data set that belong "
            "together."
        )


def load_model(folder: Path, expect: Role | Literal["mixture"] | None = None) -> nn.Module:
    """The network or mixture saved in `folder`, on the CPU in eval mode; no random number is drawn.

    Raises:
        DamagedArtifactError: a file is missing, damaged or changed, or the model is something else than `expect`.
    """
    description = load_description(folder, expect)
    try:
        module = skeleton(description.spec)
    except InputError as error:
        raise DamagedArtifactError(f"{folder / DESCRIPTION} describes a model that cannot be: {error}") from error
    wanted = module.state_dict()
    path = folder / WEIGHTS
    data = _read(path, sum(tensor.nbytes for tensor in wanted.values()) + MAX_HEADER_BYTES)
    if hashlib.sha256(data).hexdigest() != description.sha256:
        raise DamagedArtifactError(f"{path} is not the file that {DESCRIPTION} was written for: its digest differs")
    try:
        state = load_tensors(data)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise DamagedArtifactError(f"{path} is not a valid safetensors file: {error}") from error
    problem = _difference(wanted, state)
    if problem:
        raise DamagedArtifactError(f"{path} does not hold the model that {DESCRIPTION} describes: {problem}")
    # Cloned, because the loaded tensors lie unaligned in the file's bytes, which slows kernels down.
    module.load_state_dict({name: tensor.clone() for name, tensor in state.items()}, assign=True)
    return module.eval()


def _read(path: Path, limit: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > limit:
            raise DamagedArtifactError(f"{path} has {size:,} bytes: at most {limit:,} are possible")
        return path.read_bytes()
    except OSError as error:
        raise DamagedArtifactError(f"{path} cannot be read: {error.strerror}") from error


def _difference(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """The first difference in names, shapes or dtypes, in words; empty if there is none."""
    for name, tensor in wanted.items():
        if name not in found:
            return f"tensor {name} is missing"
        if found[name].shape != tensor.shape:
            return f"tensor {name} has shape {tuple(found[name].shape)}, not {tuple(tensor.shape)}"
        if found[name].dtype != tensor.dtype:
            return f"tensor {name} has dtype {found[name].dtype}, not {tensor.dtype}"
    unexpected = sorted(set(found) - set(wanted))
    return f"tensor {unexpected[0]} is unexpected" if unexpected else ""
