"""Batched table mixtures on disk: a folder of `model.safetensors` beside the results of their training."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from moist.errors import DamagedArtifactError
from moist.mode.results import VariantResults, read_results, write_results
from moist.mode.table_mixtures import BatchedMixtures, TableModel, build_mixture
from moist.mode.tables import Table

WEIGHTS = "model.safetensors"


def save_mixtures(mixtures: BatchedMixtures, results: VariantResults, folder: Path) -> None:
    """Write S x V mixtures, and what came of training them."""
    write_results(results, folder)
    tensors = {name: tensor.detach().contiguous() for name, tensor in mixtures.state_dict().items()}
    save_file(tensors, folder / WEIGHTS)


def load_mixtures(folder: Path, table: Table) -> tuple[BatchedMixtures, VariantResults]:
    """Read what save_mixtures wrote, in evaluation mode, for the table that they were trained on.

    Raises DamagedArtifactError for files that are missing or damaged, or mixtures that do not fit the table.
    """
    results = read_results(VariantResults, folder)
    model = TableModel.model_validate(results.architecture.model_dump())
    blank = build_mixture(model, table.features.shape[1], len(table.classes), 0)
    space = results.training.get("space", "logits")
    mixtures = BatchedMixtures(model, [[blank] * len(results.alphas)] * len(results.seeds), space)
    try:
        mixtures.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise DamagedArtifactError(
            f"{folder / WEIGHTS} does not hold {len(results.seeds)} x {len(results.alphas)} mixtures "
            f"({results.architecture.label}) for table {table.name} ({str(error).splitlines()[0]}); "
            "rerun train_mixture."
        ) from None
    return mixtures.eval(), results
