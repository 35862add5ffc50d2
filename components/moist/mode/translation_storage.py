"""Translators on disk: a folder of `model.safetensors`, `model.json` (what they are) and `tokenizer.model`."""

from pathlib import Path

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from moist.errors import DamagedArtifactError, MoistError
from moist.frozen import Frozen
from moist.mode.translation_corpus import Tokenizer
from moist.mode.translation_model import Translator, TranslatorSpec

WEIGHTS, DESCRIPTION, TOKENIZER = "model.safetensors", "model.json", "tokenizer.model"


class _Description(Frozen):
    spec: TranslatorSpec
    vocabulary: int = Field(ge=1)
    scored: int = Field(ge=1, le=2**24, description="how many of the pieces get a logit")


def save_translator(model: Translator, tokenizer: Tokenizer, folder: Path) -> None:
    """Write a translator; the same one gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}, folder / WEIGHTS)
    description = _Description(spec=model.spec, vocabulary=model.vocabulary, scored=len(model.scored))
    (folder / DESCRIPTION).write_text(description.model_dump_json(indent=2) + "\n", "utf-8")
    (folder / TOKENIZER).write_bytes(tokenizer.model)


def load_translator(folder: Path) -> tuple[Translator, Tokenizer]:
    """Read what save_translator wrote, on the CPU in evaluation mode.

    Raises DamagedArtifactError for files that are missing or damaged, or do not fit each other.
    """
    try:
        description = _Description.model_validate_json((folder / DESCRIPTION).read_bytes())
        tokenizer = Tokenizer((folder / TOKENIZER).read_bytes())
        with torch.device("meta"):
            scored = torch.empty(description.scored, dtype=torch.int64)
            model = Translator(description.spec, description.vocabulary, scored)
        model.load_state_dict(load_file(folder / WEIGHTS), assign=True)
        if len(tokenizer) != model.vocabulary:
            raise ValueError(f"the tokenizer has {len(tokenizer)} pieces, the model {model.vocabulary}")
    except (OSError, SafetensorError, RuntimeError, ValueError, ValidationError, MoistError) as error:
        reason = str(error).splitlines()[0]
        raise DamagedArtifactError(f"{folder} does not hold a translator ({reason}); rerun train_translator.") from None
    return model.eval(), tokenizer
