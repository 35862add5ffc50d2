"""Tables and mixtures on disk: what is read is what was written, and damage is seen."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from moist.errors import DamagedArtifactError
from moist.mode.mixture_storage import load_mixtures, save_mixtures
from moist.mode.results import Architecture, TableResults, VariantResults, read_results
from moist.mode.table_mixtures import SPARSE, with_one
from moist.mode.table_storage import load_table, save_table
from moist.mode.table_training import TableTraining, train_batched
from moist.mode.tables import Table

TRAINING = TableTraining(epochs=1)
SMALL = SPARSE.model_copy(update={"experts": 3})


def trained(table: Table, folder: Path) -> torch.Tensor:
    """Train two seeds at two alphas and save them; gives their logits on the test rows."""
    found = train_batched(table, SMALL, TRAINING, [0.0, 0.1], [3, 5])
    results = VariantResults(
        architecture=Architecture.model_validate(SMALL.model_dump()),
        training=TRAINING.model_dump(),
        alphas=[0.0, 0.1],
        seeds=[3, 5],
        test=found.test_accuracy.tolist(),
        validation=found.validation_accuracy.tolist(),
        kept_epoch=found.kept_epoch.tolist(),
        seconds=0.0,
    )
    save_mixtures(found.model, results, folder)
    with torch.no_grad():
        return found.model(with_one(found.data.test)).logits  # type: ignore[no-any-return]


def test_a_table_comes_back_as_it_was(blobs: Table, tmp_path: Path) -> None:
    noted = blobs._replace(notes=("a note",), classes=("ä", "2", "x,y"))
    save_table(noted, tmp_path)
    found = load_table(tmp_path)
    np.testing.assert_array_equal(found.features, blobs.features)
    np.testing.assert_array_equal(found.labels, blobs.labels)
    assert found[3:] == noted[3:]
    assert found.name == "blobs"


@pytest.mark.parametrize("file", ["table.safetensors", "table.json"])
def test_a_damaged_table_is_refused(file: str, blobs: Table, tmp_path: Path) -> None:
    save_table(blobs, tmp_path)
    (tmp_path / file).write_bytes((tmp_path / file).read_bytes()[:-9])
    with pytest.raises(DamagedArtifactError, match="rerun prepare_table"):
        load_table(tmp_path)


def test_a_table_whose_parts_do_not_fit_is_refused(blobs: Table, tmp_path: Path) -> None:
    save_table(blobs, tmp_path)
    facts = json.loads((tmp_path / "table.json").read_text())
    (tmp_path / "table.json").write_text(json.dumps({**facts, "classes": ["only", "two"]}))
    with pytest.raises(DamagedArtifactError, match="do not fit"):
        load_table(tmp_path)


def test_mixtures_answer_as_before(blobs: Table, tmp_path: Path) -> None:
    before = trained(blobs, tmp_path)
    mixtures, results = load_mixtures(tmp_path, blobs)
    assert not mixtures.training
    assert results.seeds == [3, 5]
    again = train_batched(blobs, SMALL, TRAINING, [0.0, 0.1], [3, 5])
    with torch.no_grad():
        assert torch.equal(mixtures(with_one(again.data.test)).logits, before)


def test_mixtures_of_another_table_are_refused(blobs: Table, tmp_path: Path) -> None:
    trained(blobs, tmp_path)
    wider = blobs._replace(features=np.hstack([blobs.features, blobs.features]))
    with pytest.raises(DamagedArtifactError, match=r"table blobs .*rerun train_mixture"):
        load_mixtures(tmp_path, wider)


def test_results_of_another_kind_are_refused(blobs: Table, tmp_path: Path) -> None:
    trained(blobs, tmp_path)
    with pytest.raises(DamagedArtifactError, match="does not hold TableResults"):
        read_results(TableResults, tmp_path)
