"""A stage as a program: settings, flags, exit codes, and outputs that are there whole or not at all."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_stage
from moist.errors import InputError
from moist.runtime import artifacts, contract
from moist.runtime.task import InputReference, Task, local_path

Run = Callable[..., tuple[int, str]]


def outputs(folder: Path) -> list[str | Path]:
    return [
        "--copy",
        folder / "a" / "copy",
        "--page",
        folder / "b" / "page.html",
        "--metrics",
        folder / "a" / "metrics",
    ]


def tree(folder: Path) -> dict[str, str]:
    """Digest of every file in a folder, hidden ones too."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }


def test_outputs_and_their_provenance(tmp_path: Path, tiny: Run) -> None:
    assert tiny(*outputs(tmp_path / "first"), "--lines", "2")[0] == 0
    code, said = tiny(*outputs(tmp_path / "out"), "--source", tmp_path / "first" / "a" / "copy", "--rate", "0.25")
    assert (code, said) == (0, "")
    assert sorted(tree(tmp_path / "out")) == [
        "a/copy/deep/lines.txt",
        "a/copy/moist.json",
        "a/metrics/metrics.json",
        "a/metrics/moist.json",
        "b/page.html",
    ]
    manifest = json.loads((tmp_path / "out" / "a" / "copy" / "moist.json").read_text())
    first = json.loads((tmp_path / "first" / "a" / "copy" / "moist.json").read_text())
    source = {"uri": str(tmp_path / "first" / "a" / "copy"), "digest": first["digest"]}
    assert manifest["inputs"] == {"source": source}
    assert manifest["settings"] == {"lines": 3, "rate": 0.25, "ending": "well"}
    assert manifest["stage"] == manifest["task"] == "tiny"
    # The page is one file and carries no manifest of its own: its siblings' name its digest.
    page = tmp_path / "out" / "b" / "page.html"
    assert manifest["outputs"]["page"] == artifacts.digest_of(artifacts.describe(page)) != manifest["digest"]
    assert manifest["outputs"]["copy"] == manifest["digest"]


def test_several_artifacts_for_one_input(tmp_path: Path, tiny: Run) -> None:
    for name in ("x", "y"):
        assert tiny(*outputs(tmp_path / name), "--lines", "1")[0] == 0
    folders = [tmp_path / name / "a" / "copy" for name in ("x", "y")]
    assert tiny(*outputs(tmp_path / "out"), "--more", *folders)[0] == 0
    assert (tmp_path / "out" / "a" / "copy" / "deep" / "lines.txt").read_text().count("line") == 5


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ["--lines", "0"],
            "Setting lines='0' is not allowed: input should be greater than or equal to 1 (lines to write).",
        ),
        (["--lines", "many"], "Setting lines='many' is not allowed: input should be a valid integer"),
        (["--rate", "nan"], "Setting rate='nan' is not allowed: input should be a finite number"),
        (["--rate", "inf"], "Setting rate='inf' is not allowed"),
        (["--ending", "badly"], "Setting ending='badly' is not allowed: input should be 'well', 'error',"),
        (["--lines", "0", "--rate", "7"], "Setting rate='7' is not allowed: input should be less than or equal to 1"),
        (["--speed", "1"], "unrecognized arguments: --speed 1"),
        (["--executor-input", "{"], "--executor-input is not what Kubeflow passes"),
        (["--executor-input", "[]"], "--executor-input is not what Kubeflow passes"),
        (["--executor-input", "{}"], "(outputs: Field required)"),
        (["--executor-input", "[" * 100_000], "--executor-input is not what Kubeflow passes"),
        (
            [
                "--executor-input",
                '{"outputs": {"outputFile": "x", "artifacts": {"copy": {"artifacts": [{"uri": 5}]}}}}',
            ],
            "uri",
        ),
        (
            ["--executor-input", '{"inputs": {"parameterValues": []}, "outputs": {"outputFile": "x"}}'],
            "parameterValues",
        ),
        (
            [
                "--executor-input",
                '{"inputs": {"parameterValues": {"lines": 2.5, "sped": 1}}, "outputs": {"outputFile": "x"}}',
            ],
            "Unknown setting 'sped'; the settings are lines, rate, ending.",
        ),
    ],
)
def test_a_wrong_setting_is_one_sentence_and_exit_code_2(
    flags: list[str], said: str, tmp_path: Path, tiny: Run
) -> None:
    code, error = tiny(*outputs(tmp_path), *flags)
    assert code == 2
    assert said in error
    assert "Traceback" not in error
    assert not tree(tmp_path)


def test_all_wrong_settings_are_named_at_once(tmp_path: Path, tiny: Run) -> None:
    _, error = tiny(*outputs(tmp_path), "--lines", "0", "--rate", "7", "--ending", "badly")
    assert all(f"Setting {name}=" in error for name in ("lines", "rate", "ending"))


def test_kubeflow_s_whole_doubles_are_integers(tmp_path: Path, tiny: Run) -> None:
    """Every number reaches a task as a double; 4.0 is the integer 4, and 4.5 is none."""
    locations = {"copy": tmp_path / "copy", "page": tmp_path / "page", "metrics": tmp_path / "metrics"}
    given = {
        "inputs": {"parameterValues": {"lines": 4.0, "rate": 1.0, "pipelinechannel--x": 3, "accelerator_count": "1"}},
        "outputs": {
            "outputFile": str(tmp_path / "task" / "out.json"),
            "artifacts": {name: {"artifacts": [{"uri": str(path)}]} for name, path in locations.items()},
        },
    }
    assert tiny("--executor-input", json.dumps(given)) == (0, "")
    assert json.loads((tmp_path / "copy" / "moist.json").read_text())["settings"]["lines"] == 4
    given["inputs"]["parameterValues"]["lines"] = 4.5
    assert tiny("--executor-input", json.dumps(given))[0] == 2


def test_a_gpu_that_was_asked_for_and_cannot_be_used_is_an_error(
    tmp_path: Path, tiny: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else training takes the CPU for a day, while the GPU idles. Outside a cluster nobody gives what is asked for."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    run = tmp_path / "pipeline" / "run" / "tiny" / "0a1b2c3d-0a1b-4c3d-8e9f-0a1b2c3d4e5f"

    def asked(folder: Path) -> tuple[int, str]:
        given = {
            "inputs": {"parameterValues": {"lines": 1, "pipelinechannel--gpu_count": "1"}},
            "outputs": {
                "outputFile": str(tmp_path / "task" / "out.json"),
                "artifacts": {n: {"artifacts": [{"uri": str(folder / n)}]} for n in ("copy", "page", "metrics")},
            },
        }
        return tiny("--executor-input", json.dumps(given))

    code, error = asked(run)
    assert (code, "was given 1 GPU(s), but PyTorch can use none" in error) == (2, True), error
    assert not list(run.iterdir())
    assert asked(tmp_path / "elsewhere") == (0, "")


def test_missing_inputs_and_outputs_are_named(tmp_path: Path, tiny: Run) -> None:
    code, error = tiny("--copy", tmp_path / "copy")
    assert code == 2
    assert "--page, --metrics missing: say where to write each output" in error
    code, error = tiny(*outputs(tmp_path), "--source", tmp_path / "nothing")
    assert code == 3
    assert f"Input source: {tmp_path / 'nothing'} is not there" in error


def test_help_names_every_setting_with_its_default() -> None:
    command = [sys.executable, "-m", "moist.stages.prepare_data.program", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--validation-fraction FLOAT" in result.stdout
    assert "[0.1]" in result.stdout
    assert "--augmentation {auto,none,shift,shift+flip}" in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("ending", ["error", "crash", "forgets"])
def test_a_failure_leaves_nothing_and_keeps_what_was_there(ending: str, tmp_path: Path, tiny: Run) -> None:
    assert tiny(*outputs(tmp_path))[0] == 0
    before = tree(tmp_path)
    if ending == "crash":
        with pytest.raises(RuntimeError, match="a bug"):
            tiny(*outputs(tmp_path), "--lines", "9", "--ending", ending)
    else:
        code, error = tiny(*outputs(tmp_path), "--lines", "9", "--ending", ending)
        assert code == (2 if ending == "error" else 1)
        assert error.count("\n") == 1
    assert tree(tmp_path) == before


def test_a_new_output_replaces_the_old_one_whole(tmp_path: Path, tiny: Run) -> None:
    assert tiny(*outputs(tmp_path), "--lines", "5")[0] == 0
    (tmp_path / "a" / "copy" / "left-over.txt").write_text("of an earlier version")
    assert tiny(*outputs(tmp_path), "--lines", "1")[0] == 0
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["copy", "metrics"]
    artifacts.verify(tmp_path / "a" / "copy", "copy", kind="lines")


def test_an_output_that_cannot_be_placed_leaves_the_others_out(tmp_path: Path) -> None:
    """The places are fine when the stage starts; one is blocked when it ends."""
    places = {name: str(tmp_path / name / "final") for name in tiny_stage.STAGE.outputs}

    def blocking(settings: tiny_stage.Settings, **paths: Path) -> contract.Metadata:
        metadata = tiny_stage.tiny(settings, **paths)  # type: ignore[arg-type]
        (tmp_path / "metrics").rmdir()
        (tmp_path / "metrics").write_text("a file where a folder was")
        return metadata

    task = Task("tiny", tiny_stage.Settings(), {"source": [], "more": []}, places)
    with pytest.raises(InputError, match=r"Output metrics cannot be written to .*metrics/final"):
        contract.execute(task, tiny_stage.STAGE, blocking)
    assert sorted(tree(tmp_path)) == ["metrics"]


def test_a_place_that_cannot_be_written_is_found_before_any_work(tmp_path: Path, tiny: Run) -> None:
    (tmp_path / "b").write_text("a file where the page's folder should be")
    code, error = tiny(*outputs(tmp_path), "--ending", "crash")
    assert code == 2
    assert f"Output page cannot be written to {tmp_path / 'b' / 'page.html'}" in error


def test_artifacts_may_not_lie_in_each_other(tmp_path: Path, tiny: Run) -> None:
    assert tiny(*outputs(tmp_path))[0] == 0
    before = tree(tmp_path)
    inside = ["--copy", tmp_path / "x", "--metrics", tmp_path / "x" / ".." / "x" / "metrics", "--page", tmp_path / "p"]
    code, error = tiny(*inside)
    assert code == 2
    assert "would overwrite output copy or mix with it" in error
    code, error = tiny(*outputs(tmp_path), "--source", tmp_path / "a" / "copy")
    assert code == 2
    assert "Output copy at" in error
    assert "would overwrite input source" in error
    assert tree(tmp_path) == before


def test_the_workspace_may_be_on_another_file_system(
    tmp_path: Path, tiny: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Path("/dev/shm")
    if not os.access(elsewhere, os.W_OK) or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system: /dev/shm is not there, not writable, or the same")
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    assert tiny(*outputs(tmp_path))[0] == 0
    artifacts.verify(tmp_path / "a" / "copy", "copy", kind="lines")
    assert not [path for path in tree(tmp_path) if "partial" in path]


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_ends_a_stage_with_one_sentence_and_no_output(
    number: signal.Signals,
    code: int,
    word: str,
    tmp_path: Path,
    start_tiny: Callable[..., "subprocess.Popen[str]"],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    process = start_tiny(*outputs(tmp_path / "out"))
    process.send_signal(number)
    _, error = process.communicate()
    assert process.returncode == code
    assert error.startswith(f"tiny: {word}; no output was written.")
    assert error.count("\n") == 1
    assert not tree(tmp_path / "out")
    assert not list((tmp_path / "tmp").iterdir())


def test_where_the_launcher_puts_a_uri() -> None:
    assert local_path("minio://mlpipeline/v2/x") == Path("/minio/mlpipeline/v2/x")
    assert local_path("s3://bucket/x") == Path("/s3/bucket/x")
    assert local_path("gs://bucket/x") == Path("/gcs/bucket/x")
    assert local_path("some/path") == Path("some/path")


def test_a_retry_has_the_same_identity_and_a_changed_task_another(tmp_path: Path) -> None:
    """Checkpoints are found by it: it may not depend on where outputs go, and must on all that changes them."""

    def identity(settings: tiny_stage.Settings, folder: Path, source: Path | None = None) -> str:
        seen = []

        def watched(settings: tiny_stage.Settings, **paths: Path) -> contract.Metadata:
            running = contract.RUNNING.get()
            assert running is not None
            seen.append(running.identity)
            return tiny_stage.tiny(settings, **paths)  # type: ignore[arg-type]

        places = {name: str(folder / name) for name in tiny_stage.STAGE.outputs}
        inputs = {"source": [InputReference(str(source))] if source else [], "more": []}
        contract.execute(Task("tiny", settings, inputs, places), tiny_stage.STAGE, watched)
        return seen[0]

    plain = identity(tiny_stage.Settings(), tmp_path / "1")
    assert identity(tiny_stage.Settings(), tmp_path / "2") == plain
    other = identity(tiny_stage.Settings(lines=4), tmp_path / "3")
    assert len({plain, other, identity(tiny_stage.Settings(), tmp_path / "4", tmp_path / "1" / "copy")}) == 3
    assert identity(tiny_stage.Settings(), tmp_path / "5", tmp_path / "2" / "copy") == identity(
        tiny_stage.Settings(), tmp_path / "6", tmp_path / "1" / "copy"
    )
