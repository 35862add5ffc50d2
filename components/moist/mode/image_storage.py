"""A C-DMoE on disk: a folder of `model.safetensors` and `model.json`, from which the network is built again."""

from pathlib import Path
from typing import Literal

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from moist.errors import DamagedArtifactError
from moist.frozen import Frozen
from moist.mode.vision import ImageMixture, VisionTraining, build_image_mixture

WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"


class ImageModel(Frozen):
    """What `model.json` holds."""

    format: Literal["moist-image-mixture-1"] = "moist-image-mixture-1"
    training: VisionTraining
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    """of the training images divided by 255, a value a channel; what the network sees is (image / 255 - mean) / std"""
    std: tuple[float, ...]
    alpha: float
    seed: int


def save_image_mixture(model: ImageMixture, description: ImageModel, folder: Path) -> None:
    """Write a trained network and what it is."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}, folder / WEIGHTS
    )
    (folder / DESCRIPTION).write_text(description.model_dump_json(indent=1) + "\n", "utf-8")


def load_image_mixture(folder: Path) -> tuple[ImageMixture, ImageModel]:
    """Read what save_image_mixture wrote, on the CPU, in evaluation mode. Raises DamagedArtifactError."""
    try:
        description = ImageModel.model_validate_json((folder / DESCRIPTION).read_bytes())
        model = build_image_mixture(description.training, description.shape, len(description.classes))
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValidationError, SafetensorError, RuntimeError, ValueError) as error:
        raise DamagedArtifactError(
            f"{folder} does not hold a mixture for images ({str(error).splitlines()[0]}); rerun train_vision_mixture."
        ) from None
    return model.eval(), description
