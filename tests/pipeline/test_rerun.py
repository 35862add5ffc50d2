"""`runs`, `fetch` and `rerun` on real runs of a small pipeline, in the embedded store; and `rerun --host`."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import components
from kubeflow_server import Kubeflow, serve
from moist.runtime import submit, watch
from moist.runtime.artifacts import Manifest
from moist.runtime.command_line import main
from moist.runtime.local_store import store
from moist.runtime.runs import list_runs, read_run
from moist.runtime.store import Store
from small_stages.small_pipeline import small_pipeline

Command = Callable[..., int]
HERE = Path(__file__).resolve().parent
UUID = "0a1b2c3d-0a1b-4c3d-8e9f-0a1b2c3d4e5f"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    """A store of this module's own in the environment, and programs that find the small stages."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("AWS_", "KFP_", "KF_", "MOIST_")):
                patch.delenv(name)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]))
        with store(tmp_path_factory.mktemp("store")) as served:
            for name, value in served.items():
                patch.setenv(name, value)
            yield patch


@pytest.fixture(scope="module")
def found(environment: pytest.MonkeyPatch) -> Store:
    return Store.from_environment()


@pytest.fixture(scope="module")
def command(environment: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The command line in this process."""
    home = tmp_path_factory.mktemp("home")
    return lambda *arguments: main(small_pipeline, [*arguments, "--home", str(home)])


@pytest.fixture(scope="module")
def first(command: Command, found: Store) -> str:
    """A finished run of numbers 1 to 4, times 3."""
    if command("run", "--preset", "smoke", "--count", "4", "--factor", "3") != 0:
        raise AssertionError("the first run failed")
    return read_run(found, "latest").id


def sums(found: Store, run: str) -> Any:
    uri = read_run(found, run).artifacts["total"]["metrics"].uri
    return json.loads(found.get_bytes(f"{uri}/sums.json"))


def everything_of(found: Store, run: str) -> dict[str, bytes]:
    root = f"s3://moist/runs/{run}"
    return {name: found.get_bytes(f"{root}/{name}") for name in found.list(root)}


def test_one_task_again_touches_nothing_else(
    command: Command, found: Store, first: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = everything_of(found, first)
    assert command("rerun", "scale", "--from", first, "--set", "offset=5") == 0
    assert "[1/1] scale" in capsys.readouterr().err
    assert everything_of(found, first) == before
    record = read_run(found, "latest")
    assert record.id != first
    assert (record.rerun_of, record.rerun, record.changed) == (first, "scale", {"scale": {"offset": 5}})
    own = {name.split("/")[0] for name in found.list(f"s3://moist/runs/{record.id}")}
    assert own == {"run.json", "scale"}
    scaled = json.loads(found.get_bytes(f"{record.artifacts['scale']['scaled'].uri}/scaled.json"))
    assert scaled == [8.0, 11.0, 14.0, 17.0]  # the factor 3 of the first run, and the new offset
    assert record.artifacts["numbers"] == read_run(found, first).artifacts["numbers"]
    assert "total" not in record.tasks  # what the first run's total says is not about these numbers


def test_downstream_reruns_what_depends_on_it_and_keeps_earlier_changes(
    command: Command, found: Store, first: str
) -> None:
    assert command("rerun", "scale", "--from", first, "--set", "offset=5", "--downstream") == 0
    again = read_run(found, "latest").id
    assert sums(found, again) == {"scaled": 50.0, "numbers": 10}
    assert sums(found, first) == {"scaled": 30.0, "numbers": 10}
    assert command("rerun", "scale", "--from", again, "--set", "factor=1", "--downstream") == 0
    assert sums(found, "latest") == {"scaled": 30.0, "numbers": 10}  # 10 * 1 + 4 * 5
    assert command("rerun", "total", "--from", again) == 0
    assert sums(found, "latest") == {"scaled": 50.0, "numbers": 10}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing",), "There is no task 'nothing' to rerun; the earlier run's are numbers, scale, total."),
        (("scale", "--set", "offest=1"), "Unknown setting 'offest'; the settings are factor, offset."),
        (("scale", "--set", "offset=101"), "Setting offset='101' is not allowed"),
        (("scale", "--set", "offset"), "must look like name=value"),
        (("scale", "--set", "offset=s3://key:secret@bucket/x"), "A URI must not hold credentials"),
    ],
)
def test_mistakes_are_one_sentence_and_no_run(
    command: Command,
    found: Store,
    first: str,
    arguments: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = found.list("s3://moist")
    assert command("rerun", *arguments, "--from", first) == 2
    assert said in capsys.readouterr().err
    assert found.list("s3://moist") == before


def test_an_unknown_run_names_the_newest(
    command: Command, found: Store, first: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (("rerun", "scale", "--from", "small-1"), ("lineage", "small-1"), ("fetch", "../etc", "page")):
        assert command(*arguments) == 2
        err = capsys.readouterr().err
        assert f"There is no run {arguments[-1] if arguments[0] != 'fetch' else '../etc'!r}" in err


def test_a_home_where_nothing_ran_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for arguments in (["runs"], ["lineage", "latest"], ["rerun", "total", "--from", "latest"]):
        assert main(small_pipeline, [*arguments, "--home", str(tmp_path / "none")]) == 2
    assert not (tmp_path / "none").exists()


def test_runs_lists_the_newest_first(
    command: Command, found: Store, first: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("rerun", "total", "--from", first) == 0
    capsys.readouterr()
    assert command("runs") == 0
    heading, newest, *_, oldest = capsys.readouterr().out.splitlines()
    assert heading.startswith("run")
    assert oldest.split()[:4] == [first, "succeeded", "smoke", "digits"]
    assert newest.endswith(f"total again, from {first}")


def test_fetch_gives_what_the_run_wrote(
    command: Command, found: Store, first: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("fetch", first, "page", "--output", str(tmp_path)) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == "<!doctype html><title>scaled by 3.0</title>"
    assert command("fetch", first, "total/metrics", "--output", str(tmp_path)) == 0
    assert json.loads((tmp_path / "metrics" / "sums.json").read_text()) == {"scaled": 30.0, "numbers": 10}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics", "page.html"]
    assert command("fetch", first, "pages", "--output", str(tmp_path)) == 2
    assert "it has numbers/numbers, " in capsys.readouterr().err


def test_damage_is_found_by_fetch_and_by_rerun(
    command: Command, found: Store, first: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a run of its own, since it damages it; every fault ends with exit code 3 and leaves nothing behind."""
    assert command("rerun", "numbers", "--from", first) == 0
    run = read_run(found, "latest")
    numbers = run.artifacts["numbers"]["numbers"].uri
    written, manifest = found.get_bytes(f"{numbers}/numbers.json"), found.get_bytes(f"{numbers}/moist.json")
    found.put_bytes(f"{numbers}/numbers.json", written.replace(b"4", b"9"))
    assert command("fetch", run.id, "numbers", "--output", str(tmp_path)) == 3
    assert list(tmp_path.iterdir()) == []

    assert command("rerun", "scale", "--from", run.id) == 3
    failed = read_run(found, "latest")
    assert (failed.state, failed.tasks["scale"]["state"]) == ("failed", "failed")
    assert list(found.list(f"s3://moist/runs/{failed.id}")) == ["run.json"]
    capsys.readouterr()
    assert command("runs") == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == [failed.id, "failed"]

    found.put_bytes(f"{numbers}/numbers.json", written)
    another = Manifest.model_validate_json(manifest).model_copy(update={"digest": "sha256:0"}).sealed()
    found.put_bytes(f"{numbers}/moist.json", another.model_dump_json().encode())
    assert command("rerun", "scale", "--from", run.id) == 3
    assert "was overwritten since" in capsys.readouterr().err
    found.delete(numbers)
    assert command("rerun", "scale", "--from", run.id) == 3
    assert "is not in the store" in capsys.readouterr().err


def test_fetch_finds_a_forged_page(command: Command, found: Store, first: str, tmp_path: Path) -> None:
    page = read_run(found, first).artifacts["scale"]["page"].uri
    written = found.get_bytes(page)
    found.put_bytes(page, written.replace(b"scaled", b"forged"))
    assert command("fetch", first, "page", "--output", str(tmp_path)) == 3
    assert list(tmp_path.iterdir()) == []
    found.put_bytes(page, written)


def test_a_rerun_on_the_cluster_imports_the_earlier_artifacts(
    command: Command, found: Store, first: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The artifacts lie as Kubeflow lays them out; what is submitted is loadable, and names them by parameter."""
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.01)
    with serve(Kubeflow()) as kubeflow:
        on_cluster = [
            "--host",
            kubeflow.url,
            "--pipeline-root",
            "s3://moist/cluster",
            "--service-account",
            "moist-runner",
        ]
        assert command("submit", *on_cluster, "--preset", "smoke", "--count", "4") == 0
        earlier = kubeflow.runs[0].run_id
        laid_out = f"s3://moist/cluster/small/{earlier}"
        for name, content in everything_of(found, first).items():
            task, _, rest = name.partition("/")
            if rest:
                found.put_bytes(f"{laid_out}/{task}/{UUID}/{rest}", content)
        assert command("rerun", "scale", "--from", earlier, "--set", "offset=7", "--downstream", *on_cluster) == 0
        assert command("rerun", "scale", "--from", earlier[:-1] + "x", *on_cluster) == 2
    sent, secret = kubeflow.runs[1], os.environ["AWS_SECRET_ACCESS_KEY"]
    assert len(kubeflow.runs) == 2
    uri = f"{laid_out}/numbers/{UUID}/numbers"
    assert sent.runtime_config.parameters == {"factor": 2.0, "numbers_numbers_uri": uri}
    assert sent.service_account == "moist-runner"
    spec, platform = sent.pipeline_spec["pipeline_spec"], sent.pipeline_spec["platform_spec"]
    tasks = spec["root"]["dag"]["tasks"]
    assert set(tasks) == {"import-numbers-numbers", "scale", "total"}
    importer = spec["deploymentSpec"]["executors"]["exec-import-numbers-numbers"]["importer"]
    assert importer["artifactUri"] == {"runtimeParameter": "uri"}
    assert importer["metadata"]["digest"].startswith("sha256:")
    assert not importer.get("reimport")
    assert tasks["scale"]["inputs"]["parameters"]["offset"] == {"runtimeValue": {"constant": 7}}
    assert set(platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]) == {"exec-scale", "exec-total"}
    assert components.load_component_from_text(yaml.safe_dump_all([spec, platform])).name == "small"
    assert not any(secret.encode() in body for _, _, _, body in kubeflow.requests)
    out, err = capsys.readouterr()
    assert secret not in out + err


def test_what_is_removed_is_no_other_runs(
    command: Command, found: Store, first: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = everything_of(found, first)
    for _ in range(2):  # the second is all from the cache
        assert command("run", "--preset", "smoke", "--count", "9") == 0
    later, earlier = (record.id for record in list_runs(found)[:2])
    everything = found.list("s3://moist/runs")
    capsys.readouterr()
    assert command("remove", earlier) == 2
    assert f"Run {later} also has artifacts of {earlier}" in capsys.readouterr().err
    assert command("remove", later, "no-such-run") == 2
    assert found.list("s3://moist/runs") == everything
    assert command("remove", earlier, later) == 0
    assert f"Removed {earlier}: 0.0 MB." in capsys.readouterr().err
    assert {record.id for record in list_runs(found)}.isdisjoint((earlier, later))
    assert not found.list(f"s3://moist/runs/{earlier}")
    assert everything_of(found, first) == before
    assert command("run", "--preset", "smoke", "--count", "9") == 0
    assert "unchanged, taken from" not in capsys.readouterr().err


@pytest.fixture
def kubeflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kubeflow]:
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.01)
    with serve(Kubeflow()) as served:
        yield served


def lay_out(found: Store, local: str, kubeflow: Kubeflow, number: int) -> str:
    """A local run's artifacts where the cluster keeps those of its run of this number; the run's id."""
    run = str(kubeflow.runs[number].run_id)
    for name, content in everything_of(found, local).items():
        task, _, rest = name.partition("/")
        if rest:
            found.put_bytes(f"s3://moist/cluster/small/{run}/{task}/{UUID}/{rest}", content)
    return run


def sent(kubeflow: Kubeflow) -> Any:
    """The pipeline of the newest run, as it was sent."""
    return kubeflow.runs[-1].pipeline_spec["pipeline_spec"]


def constants(kubeflow: Kubeflow, task: str) -> dict[str, Any]:
    given = sent(kubeflow)["root"]["dag"]["tasks"][task]["inputs"]["parameters"]
    return {name: value["runtimeValue"]["constant"] for name, value in given.items() if "runtimeValue" in value}


def images(kubeflow: Kubeflow) -> set[str]:
    executors = sent(kubeflow)["deploymentSpec"]["executors"].values()
    return {executor["container"]["image"] for executor in executors if "container" in executor}


def test_a_rerun_of_a_rerun_on_the_cluster_keeps_what_that_changed(
    command: Command, found: Store, first: str, kubeflow: Kubeflow
) -> None:
    """Settings, imports and images are those of the earlier run's own pipeline, not of what is compiled here."""
    on_cluster = ("--host", kubeflow.url, "--pipeline-root", "s3://moist/cluster")
    named = ("--repository", "registry.example/team", "--tag", "7.7")
    assert command("submit", *on_cluster, *named, "--preset", "smoke", "--count", "4", "--factor", "3") == 0
    run = lay_out(found, first, kubeflow, 0)
    assert command("rerun", "scale", "--from", run, "--set", "offset=7", "--downstream", *on_cluster) == 0
    assert constants(kubeflow, "scale")["offset"] == 7
    assert images(kubeflow) == {"registry.example/team/moist-slim:7.7"}
    for flag, value, expected in (
        ("--tag", "7.8", "registry.example/team/moist-slim:7.8"),
        ("--repository", "mirror.example:5000/x/", "mirror.example:5000/x/moist-slim:7.7"),
    ):
        assert command("rerun", "total", "--from", run, flag, value, *on_cluster) == 0
        assert images(kubeflow) == {expected}
        kubeflow.runs.pop()
    again = lay_out(found, first, kubeflow, 1)
    digest = "registry.example/team/moist-slim@sha256:" + 64 * "a"
    changes = ("--set", "factor=4", "--slim-image", digest)
    assert command("rerun", "scale", "--from", again, *changes, "--downstream", *on_cluster) == 0
    assert constants(kubeflow, "scale") == {"factor": 4, "offset": 7}
    assert images(kubeflow) == {digest}
    numbers = f"s3://moist/cluster/small/{run}/numbers/{UUID}/numbers"
    assert kubeflow.runs[2].runtime_config.parameters == {"numbers_numbers_uri": numbers}
    assert command("rerun", "total", "--from", again, "--train-image", "another", *on_cluster) == 0
    assert images(kubeflow) == {"registry.example/team/moist-slim:7.7"}  # none of its tasks is on the training image
    assert set(sent(kubeflow)["root"]["dag"]["tasks"]) == {
        "import-numbers-numbers", "import-scale-scaled", "total",
    }  # fmt: skip
    components.load_component_from_text(yaml.safe_dump(sent(kubeflow)))


def test_a_run_that_was_served_from_the_cache_has_nothing_of_its_own(
    command: Command, first: str, kubeflow: Kubeflow, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    on_cluster = ("--host", kubeflow.url, "--pipeline-root", "s3://moist/cluster")
    assert command("submit", *on_cluster, "--preset", "smoke") == 0
    assert command("rerun", "scale", "--from", str(kubeflow.runs[0].run_id), *on_cluster) == 2
    assert "Kubeflow took all of that run from its cache, or its artifacts are elsewhere" in capsys.readouterr().err
    submit.show_results("s3://moist/cluster/small/nothing", "a-run", tmp_path, submit.TABLE)
    said = capsys.readouterr().err
    assert "Kubeflow took every task from its cache" in said
    assert "pipeline.py fetch a-run evaluate/report --root URI" in said


def test_latest_on_the_cluster_is_the_newest_run_of_this_pipeline(
    command: Command, found: Store, first: str, kubeflow: Kubeflow, capsys: pytest.CaptureFixture[str]
) -> None:
    on_cluster = ("--host", kubeflow.url, "--pipeline-root", "s3://moist/cluster")
    assert command("submit", *on_cluster, "--preset", "smoke", "--count", "4", "--keep-as", "kept") == 0
    run = lay_out(found, first, kubeflow, 0)
    assert not kubeflow.runs[0].pipeline_spec  # Kubeflow has it as a version of a pipeline
    assert command("submit", *on_cluster, "--preset", "smoke", "--count", "4") == 0
    other = kubeflow.runs[1]
    other.pipeline_spec["pipeline_spec"]["pipelineInfo"]["name"] = "another"
    assert command("rerun", "scale", "--from", "latest", *on_cluster) == 0
    assert f"scale again, from {run}" in capsys.readouterr().err
    assert command("rerun", "scale", "--from", other.run_id, *on_cluster) == 2
    assert "is of the pipeline 'another', but only runs of 'small' can be rerun" in capsys.readouterr().err
    other.pipeline_spec = {"pipeline_spec": {"root": 5}}
    assert command("rerun", "scale", "--from", other.run_id, *on_cluster) == 2
    assert "is of no pipeline that this kfp can read" in capsys.readouterr().err
    assert len(kubeflow.runs) == 3


@pytest.mark.parametrize("flag", ["--repository", "--tag", "--train-image", "--service-account", "--root"])
def test_flags_for_a_cluster_are_refused_without_one(
    flag: str, command: Command, first: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("rerun", "scale", "--from", first, flag, "x") == 2
    assert f"{flag} is for a cluster: give --host, too" in capsys.readouterr().err


def test_a_run_of_another_pipeline_is_refused(
    command: Command, found: Store, first: str, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads(found.get_bytes(f"s3://moist/runs/{first}/run.json"))
    uri = "s3://moist/runs/another-1/run.json"
    found.put_bytes(uri, json.dumps({**record, "id": "another-1", "pipeline": "another"}).encode())
    assert command("rerun", "total", "--from", "another-1") == 2
    assert "is of the pipeline 'another', but only runs of 'small' can be rerun" in capsys.readouterr().err
    newest = {**record, "id": "another-1", "pipeline": "another", "started": "2999-01-01 00:00:00"}
    found.put_bytes(uri, json.dumps(newest).encode())
    assert read_run(found, "latest").id == "another-1"
    assert read_run(found, "latest", "small").pipeline == "small"
    found.put_bytes(uri, b"{")
    assert command("runs") == 0
    assert "another-1" in next(line for line in capsys.readouterr().out.splitlines() if "unreadable" in line)
    assert command("lineage", "another-1") == 3
    found.delete(uri)
