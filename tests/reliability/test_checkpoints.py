"""Checkpoints: a run that is cut off and goes on ends with the same bits as one that was not."""

import errno
import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fault_proxy import FaultProxy, Plan, always
from moist.errors import StoreError
from moist.runtime.checkpoints import StoredCheckpoints
from moist.runtime.store import PATIENCE, Store
from moist.training.loop import History, Recipe
from small_training import RECIPE, CutOffError, network, same, state, train
from torch import Tensor

IDENTITY = "0" * 64
Result = tuple[dict[str, Tensor], History]
RECIPES = {
    "adamw": RECIPE,
    "sgd": Recipe(**{**RECIPE.__dict__, "optimizer": "sgd", "views": 2}),
    "muon": Recipe(**{**RECIPE.__dict__, "optimizer": "muon"}),
}


@pytest.fixture(scope="module")
def whole() -> dict[str, Result]:
    """Undisturbed runs."""
    results = {}
    for name, recipe in RECIPES.items():
        model = network()
        history = train(model, recipe)
        results[name] = (state(model), history)
    return results


def killed(root: Path | str, after: int, recipe: Recipe = RECIPE) -> None:
    """A run that ends after so many steps of its own, with a checkpoint whenever there may be one."""
    with pytest.raises(CutOffError):
        train(network(), recipe, StoredCheckpoints(IDENTITY, 0, str(root)), stop_after=after)


def goes_on(root: Path | str, recipe: Recipe = RECIPE) -> Result:
    model = network()
    history = train(model, recipe, StoredCheckpoints(IDENTITY, 0, str(root)))
    return state(model), history


def files(root: Path) -> list[Path]:
    return sorted((root / IDENTITY).iterdir())


@pytest.mark.parametrize(
    ("name", "after"), [("adamw", 20), ("adamw", 40), ("adamw", 75), ("adamw", 224), ("sgd", 110), ("muon", 110)]
)
def test_a_run_that_goes_on_ends_with_the_same_bits(
    name: str, after: int, tmp_path: Path, whole: dict[str, Result], capsys: pytest.CaptureFixture[str]
) -> None:
    """Cut off before the first checkpoint, within an epoch, at the end of one, and in the last step."""
    killed(tmp_path, after, RECIPES[name])
    weights, history = goes_on(tmp_path, RECIPES[name])
    assert same(weights, whole[name][0])
    assert history.series == whole[name][1].series
    assert ("going on from checkpoint" in capsys.readouterr().err) == (after >= 32)


def test_a_run_may_be_cut_off_again_and_again(tmp_path: Path, whole: dict[str, Result]) -> None:
    for after in (33, 33, 45, 50, 33):
        killed(tmp_path, after)
        assert len(files(tmp_path)) <= 2
    weights, history = goes_on(tmp_path)
    assert same(weights, whole["adamw"][0])
    assert history.series == whole["adamw"][1].series


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


class Evil:
    """Unpickling it would run code."""

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return Path.touch, (Path("was-here"),)  # type: ignore[return-value]


def evil(path: Path) -> None:
    """The digest is right, but what it is of is no state."""
    content = pickle.dumps(Evil(), protocol=2)
    path.unlink()
    path.with_name(f"{path.name[:8]}-{hashlib.sha256(content).hexdigest()}.pt").write_bytes(content)


def no_state(path: Path) -> None:
    torch.save([1], path.with_name("new"))
    name = f"{path.name[:8]}-{hashlib.sha256(path.with_name('new').read_bytes()).hexdigest()}.pt"
    path.unlink()
    path.with_name("new").rename(path.with_name(name))


@pytest.mark.parametrize("damage", [flip, truncate, empty, evil, no_state], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("how_many", [1, 2])
def test_a_damaged_checkpoint_is_passed_over(
    damage: Callable[[Path], None],
    how_many: int,
    tmp_path: Path,
    whole: dict[str, Result],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For the one before it, or for the start."""
    monkeypatch.chdir(tmp_path)
    killed(tmp_path, 110)
    kept = files(tmp_path)
    assert [path.name[:8] for path in kept] == ["00000003", "00000004"]
    for path in kept[2 - how_many :]:
        damage(path)
    weights, history = goes_on(tmp_path)
    said = capsys.readouterr().err
    assert "checkpoint 00000004 is damaged and was passed over" in said
    assert ("going on from checkpoint 00000003: epoch 2, step 0" in said) == (how_many == 1)
    assert same(weights, whole["adamw"][0])
    assert history.series == whole["adamw"][1].series
    assert not Path("was-here").exists()


def test_checkpoints_in_the_store(s3: Store, uri: str, whole: dict[str, Result]) -> None:
    killed(uri, 110)
    assert len(s3.list(f"{uri}/{IDENTITY}")) == 2
    weights, history = goes_on(uri)
    assert same(weights, whole["adamw"][0])
    assert history.series == whole["adamw"][1].series
    StoredCheckpoints(IDENTITY, 0, uri).clear()
    assert s3.list(uri) == {}


def test_training_outlives_a_store_that_takes_no_checkpoint(
    s3: Store, uri: str, proxy: Callable[[Plan], FaultProxy], whole: dict[str, Result],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv(PATIENCE, "0")
    proxy(always("503", "PUT POST"))
    weights, _ = goes_on(uri)
    assert same(weights, whole["adamw"][0])
    assert "no checkpoint could be kept: The store at" in capsys.readouterr().err
    assert s3.list(uri) == {}
    # To start anew because the checkpoints cannot be read would lose what they hold.
    proxy(always("503"))
    with pytest.raises(StoreError):
        goes_on(uri)


@pytest.mark.parametrize("error", [FileNotFoundError(errno.ENOENT, "gone"), OSError(errno.ENOSPC, "full")])
def test_only_a_checkpoint_that_is_gone_is_passed_over(
    error: OSError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run of the task may have removed it; a full disk is no reason to lose what it holds."""
    killed(tmp_path, 40)
    kept = StoredCheckpoints(IDENTITY, 0, str(tmp_path))

    def fetch(name: str, target: Path) -> None:
        raise error

    monkeypatch.setattr(kept._place, "fetch", fetch)
    if isinstance(error, FileNotFoundError):
        assert kept.load() is None
    else:
        with pytest.raises(OSError, match="full"):
            kept.load()


def test_what_another_run_has_finished_is_trained_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a cluster finished training keeps its checkpoints, for a pod that is lost while outputs are uploaded."""
    first, second = (StoredCheckpoints(IDENTITY, 0, str(tmp_path), run=f"s3://bucket/moist/{n}") for n in (1, 2))
    with pytest.raises(CutOffError):
        train(network(), checkpoints=first, stop_after=40)
    train(network(), checkpoints=second)
    assert "going on from checkpoint" in capsys.readouterr().err  # the first run left its training undone
    found = second.load()
    assert found is not None
    assert found["epoch"] == RECIPE.epochs + 1
    assert first.load() is None
    assert "it is of another run, which finished the training" in capsys.readouterr().err


def test_a_run_finds_its_own_checkpoint_behind_what_another_has_finished(tmp_path: Path) -> None:
    first, second = (StoredCheckpoints(IDENTITY, 0, str(tmp_path), run=f"s3://bucket/moist/{n}") for n in (1, 2))
    first.save({"epoch": 3, "step": 0})
    second.save({"epoch": 9, "step": 0, "finished": True})
    found = first.load()
    assert found is not None
    assert found["epoch"] == 3
    third = StoredCheckpoints(IDENTITY, 0, str(tmp_path), run="s3://bucket/moist/3")
    assert third.load() is None


def test_a_checkpoint_is_due_after_its_interval(tmp_path: Path) -> None:
    with pytest.raises(CutOffError):
        train(network(), checkpoints=StoredCheckpoints(IDENTITY, 3600, str(tmp_path)), stop_after=200)
    assert not list(tmp_path.rglob("*.pt"))


def test_finished_training_that_was_saved_before_is_due(tmp_path: Path) -> None:
    first, again = (StoredCheckpoints(IDENTITY, 3600, str(tmp_path)) for _ in range(2))
    assert not first.due(finished=True)
    first.save({"epoch": 1, "step": 0})
    assert first.due(finished=True)
    assert not first.due()
    assert not again.due(finished=True)
    again.load()
    assert again.due(finished=True)


def test_what_is_not_a_checkpoint_of_the_task_is_not_read(tmp_path: Path) -> None:
    """A write that was cut off leaves a partial file, which goes with the rest; a neighbour's stay."""
    other = "1" * 64
    killed(tmp_path, 40)
    (tmp_path / IDENTITY / ".00000009-x.pt.partial-1").write_bytes(b"half")
    (tmp_path / other).mkdir()
    (tmp_path / other / files(tmp_path)[-1].name).write_bytes(files(tmp_path)[-1].read_bytes())
    found = StoredCheckpoints(IDENTITY, 0, str(tmp_path)).load()
    assert found is not None
    assert (found["epoch"], found["step"]) == (1, 32)
    StoredCheckpoints(IDENTITY, 0, str(tmp_path)).clear()
    assert not (tmp_path / IDENTITY).exists()
    assert len(list((tmp_path / other).iterdir())) == 1
