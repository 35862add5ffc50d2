"""The stage export on a real run's mixture, and the lines of the README that serve what it wrote."""

import json
import re
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from conftest import ROOT, FinishedRun, run_command

README = (ROOT / "README.md").read_text()
FETCH = ("fetch", "latest", "export/model", "--output", "served")


@pytest.fixture(scope="module")
def fetched(smoke_run: FinishedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifacts that the stage takes and gives, and an oracle's mixture."""
    folder = tmp_path_factory.mktemp("fetched")
    for artifact in ("prepare-data/dataset", "train-jointly/mixture", "train-oracle/mixture", "export/model"):
        target = folder / artifact.split("/")[0]
        done = run_command("fetch", smoke_run.id, artifact, "--home", str(smoke_run.home), "--output", str(target))
        assert done.returncode == 0, done.stderr
    return folder


def export(fetched: Path, out: Path, mixture: str, *settings: str) -> "subprocess.CompletedProcess[str]":
    arguments = ["--dataset", fetched / "prepare-data" / "dataset", "--mixture", fetched / mixture / "mixture"]
    arguments += ["--model", out / "model", "--metrics", out / "metrics", *settings]
    command = [sys.executable, "-m", "moist.stages.export.program", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_model_names_classes_and_origin(fetched: Path) -> None:
    model = onnx.load(fetched / "export" / "model" / "mixture.onnx")
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(said["classes"]) == [str(digit) for digit in range(10)]
    mixture = json.loads((fetched / "train-jointly" / "mixture" / "moist.json").read_text())
    origin = json.loads(said["provenance"])
    assert origin["inputs"]["mixture"] == mixture["digest"]
    assert origin["settings"]["epochs"] == 2
    assert origin["code_version"] == mixture["code_version"]


def test_a_wrong_export_fails_with_one_sentence_and_no_output(fetched: Path, tmp_path: Path) -> None:
    """No runtime is as close to PyTorch as this asks for."""
    done = export(fetched, tmp_path / "out", "train-jointly", "--tolerance", "1e-12")
    assert done.returncode == 1
    assert re.fullmatch(r"export: ONNX Runtime gives image \d+ logits that .*: the export is wrong\.\n", done.stderr)
    assert not list((tmp_path / "out").rglob("*.onnx"))


def test_an_oracle_is_refused(fetched: Path, tmp_path: Path) -> None:
    done = export(fetched, tmp_path / "out", "train-oracle")
    assert done.returncode == 2
    assert re.fullmatch(r"export: A mixture that routes by the label .* cannot serve .*\n", done.stderr)


def test_the_readme_serves_it_as_written(smoke_run: FinishedRun, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert f"python pipeline.py {' '.join(FETCH)}" in README
    done = run_command(*FETCH[:-1], str(tmp_path / FETCH[-1]), "--home", str(smoke_run.home))
    assert done.returncode == 0, done.stderr
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert re.fullmatch(r"\['\d'(, '\d'){63}\]\n", answer.stdout)
