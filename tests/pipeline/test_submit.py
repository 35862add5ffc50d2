"""`submit` and `runs --host` against a server that speaks Kubeflow's API: what is sent, waited for, and said."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kfp_server_api as api
import pytest
import yaml
from kfp import components
from kubeflow_server import Fault, Kubeflow, serve
from moist.errors import InputError
from moist.pipelines.sweep import sweep_pipeline
from moist.runtime import cluster, local_store, watch
from moist.runtime.artifacts import InputRecord
from moist.runtime.command_line import main
from moist.runtime.kubeflow import Images
from moist.runtime.store import Store
from moist.runtime.submit import TABLE
from small_stages.small_pipeline import small_pipeline

ROOT = Path(__file__).resolve().parents[2]
PLANTED = "planted-token-7f3a"

Command = Callable[..., int]


@pytest.fixture
def kubeflow() -> Iterator[Kubeflow]:
    with serve(Kubeflow()) as server:
        yield server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Short waits, and none of this machine's credentials and stores."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "KFP_", "KF_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(cluster, "FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.setattr(cluster, "MAX_WAIT_SECONDS", 0.01)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def command(impatient: None) -> Command:
    """The command line in this process, for a pipeline of three small tasks."""
    return lambda *arguments: main(small_pipeline, arguments)


@pytest.fixture
def real_command(impatient: None) -> Command:
    """pipeline.py's command line in this process."""
    spec = importlib.util.spec_from_file_location("pipeline_under_test", ROOT / "pipeline.py")
    if spec is None or spec.loader is None:
        raise AssertionError("pipeline.py is gone")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda *arguments: main(module.moist_pipeline, arguments)


def submitted(command: Command, kubeflow: Kubeflow, *more: str) -> int:
    return command("submit", "--host", kubeflow.url, "--preset", "smoke", *more)


def test_it_waits_with_live_states_and_ends_with_the_link(
    command: Command, kubeflow: Kubeflow, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeflow.polls = [
        ("PENDING", {}),
        ("RUNNING", {"numbers": "RUNNING", "numbers-driver": "SUCCEEDED"}),
        ("RUNNING", {"numbers": "SUCCEEDED", "scale": "RUNNING"}),
        ("RUNNING", {"numbers": "SUCCEEDED", "scale": "FAILED"}),
        ("RUNNING", {"numbers": "SUCCEEDED", "scale": "RUNNING"}),
        ("SUCCEEDED", {"numbers": "SUCCEEDED", "Scale": "SUCCEEDED"}),
    ]
    assert submitted(command, kubeflow) == 0
    out, err = capsys.readouterr()
    run = kubeflow.runs[0]
    assert f"Run: {kubeflow.url}/#/runs/details/{run.run_id}" in out
    assert [line for line in err.splitlines() if line.startswith(("numbers", "scale"))] == [
        "numbers: running",
        "numbers: succeeded after 12 s",
        "scale: running",
        "scale: failed",
        "scale: running again",
        "scale: succeeded after 12 s",
    ]


def test_what_is_sent_is_what_was_asked_for(
    real_command: Command, kubeflow: Kubeflow, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (
        "--service-account",
        "moist-runner",
        "--experiment",
        "digits",
        "--gpu-type",
        "amd.com/gpu",
        "--gpus",
        "2",
    )
    images = ("--repository", "registry.example/team", "--tag", "9.9", "--pipeline-root", "s3://elsewhere/root")
    assert submitted(real_command, kubeflow, *arguments, *images, "--seed", "7") == 0
    (experiment,), (run,) = kubeflow.experiments, kubeflow.runs
    assert experiment.display_name == "digits"
    assert run.experiment_id == experiment.experiment_id
    assert run.service_account == "moist-runner"
    assert run.runtime_config.pipeline_root == "s3://elsewhere/root"
    sent = run.runtime_config.parameters
    assert (sent["gpu_type"], sent["gpu_count"], sent["seed"], sent["train_limit"]) == ("amd.com/gpu", "2", 7, 400)
    documents = run.pipeline_spec
    spec, platform = documents["pipeline_spec"], documents["platform_spec"]
    pipeline = components.load_component_from_text(yaml.safe_dump_all([spec, platform]))
    assert set(sent) == set(pipeline.pipeline_spec.root.input_definitions.parameters)
    images_sent = {executor["container"]["image"] for executor in spec["deploymentSpec"]["executors"].values()}
    assert images_sent == {"registry.example/team/moist-slim:9.9", "registry.example/team/moist-train:9.9"}
    assert platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert f"The results are in s3://elsewhere/root/moist/{run.run_id}." in capsys.readouterr().err


@pytest.mark.parametrize(("flags", "cached"), [((), True), (("--no-cache",), False)])
def test_no_cache_is_for_every_task(command: Command, kubeflow: Kubeflow, flags: tuple[str, ...], cached: bool) -> None:
    assert submitted(command, kubeflow, *flags) == 0
    tasks = kubeflow.runs[0].pipeline_spec["pipeline_spec"]["root"]["dag"]["tasks"].values()
    assert len(tasks) == 3
    assert {task.get("cachingOptions", {}).get("enableCache", False) for task in tasks} == {cached}


@pytest.mark.parametrize(("pipeline", "last"), [("mode", "compare"), ("sweep", "compare-sweep")])
def test_the_other_pipelines_are_sent_likewise(
    real_command: Command, kubeflow: Kubeflow, pipeline: str, last: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeflow.polls = [("RUNNING", {last: "RUNNING"}), ("SUCCEEDED", {last: "SUCCEEDED"})]
    assert submitted(real_command, kubeflow, "--pipeline", pipeline, "--gpus", "2", "--no-cache") == 0
    (run,) = kubeflow.runs
    assert run.runtime_config.parameters["gpu_count"] == "2"
    spec = run.pipeline_spec["pipeline_spec"]
    assert spec["pipelineInfo"]["name"] == pipeline
    dags = [spec["root"]["dag"], *(each["dag"] for each in spec["components"].values() if "dag" in each)]
    tasks = [task for dag in dags for task in dag["tasks"].values()]
    assert len(tasks) > 6
    assert not any(task.get("cachingOptions", {}).get("enableCache", False) for task in tasks)
    out, err = capsys.readouterr()
    assert f"{last}: succeeded after 12 s" in err
    assert f"The results are in minio://mlpipeline/v2/artifacts/{pipeline}/{run.run_id}." in err
    assert f"Run: {kubeflow.url}/#/runs/details/{run.run_id}" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--pipeline", "mode", "--tables", ","), "The list tables is empty"),
        (("--pipeline", "sweep", "--width", "0"), "Setting width=0 is not allowed"),
        (("--pipeline", "mode", "--text-source", "a"), "--text-source and --text-target go together"),
    ],
)
def test_mistakes_in_the_other_pipelines_send_nothing(
    command: Command, kubeflow: Kubeflow, arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submitted(command, kubeflow, *arguments) == 2
    assert said in capsys.readouterr().err
    assert kubeflow.requests == []


@pytest.mark.parametrize(("seeds", "warned"), [("0", False), ("0,1", True)])
def test_a_run_that_may_outgrow_argo_s_record_is_told_of(
    real_command: Command, kubeflow: Kubeflow, seeds: str, warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submitted(real_command, kubeflow, "--pipeline", "sweep", "--preset", "quick", "--seeds", seeds) == 0
    assert ("when Argo's record of it outgrows 1 MiB" in capsys.readouterr().err) == warned


def test_tasks_in_loops_and_what_prepares_a_pod_are_named() -> None:
    """Kubeflow gives every iteration's task the same name, and an identity of its own."""
    names = watch.task_names(sweep_pipeline(Images()))
    assert {"train-teacher", "distill-by-width", "compare-sweep"} <= set(names.values())
    shown = [("for-loop-1", "a"), ("distill-by-width", "b"), ("distill-by-width", "c"), ("evaluate-driver", "d")]
    details = [
        api.V2beta1PipelineTaskDetail(task_id=key, display_name=name, state="SUCCEEDED" if key == "c" else "FAILED")
        for name, key in shown
    ]
    run = api.V2beta1Run(state="FAILED", run_details=api.V2beta1RunDetails(task_details=details))
    assert "(distill-by-width failed; evaluate failed)" in watch.failure_of(run, names, "link")


def test_a_failed_run_names_its_task_and_ends_with_1(
    command: Command, kubeflow: Kubeflow, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeflow.error = "OOMKilled"
    kubeflow.polls = [("RUNNING", {}), ("FAILED", {"numbers": "SUCCEEDED", "scale": "FAILED"})]
    assert submitted(command, kubeflow) == 1
    err = capsys.readouterr().err
    assert "The run ended as failed (scale failed: OOMKilled)" in err
    assert kubeflow.runs[0].run_id in err.splitlines()[-1]


def test_a_task_that_was_left_out_is_not_said_to_wait(
    command: Command, kubeflow: Kubeflow, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kubeflow gives it no state."""
    kubeflow.polls = [("FAILED", {"numbers": "FAILED", "scale": None, "total": None})]
    assert submitted(command, kubeflow) == 1
    err = capsys.readouterr().err
    assert "numbers: failed" in err
    assert "scale" not in err


def test_results_of_newer_code_are_an_error_like_others(tmp_path: Path) -> None:
    """A run's images may be a colleague's, newer than this code."""
    artifacts = {"evaluate": {"metrics": InputRecord(uri="s3://newer/metrics", digest="0" * 64)}}
    with local_store.store(tmp_path) as environment:
        kept = Store.of(environment)
        kept.ensure_bucket("newer")
        kept.put_bytes("s3://newer/metrics/results.json", b'{"figures": []}')
        with pytest.raises(InputError, match="is of another version of moist"):
            TABLE.text(kept, artifacts)


def test_a_canceled_run_is_no_success(command: Command, kubeflow: Kubeflow) -> None:
    kubeflow.polls = [("CANCELED", {})]
    assert submitted(command, kubeflow) == 1


def test_outages_pass(command: Command, kubeflow: Kubeflow) -> None:
    kubeflow.polls = [("RUNNING", {}), ("RUNNING", {}), ("SUCCEEDED", {})]
    kubeflow.faults = [
        Fault("GET .*/healthz", "cut"),
        Fault("GET .*/experiments", 503, times=2),
        Fault("GET .*/runs/", 500, times=8),
        Fault("GET .*/runs/", "cut", times=8),
    ]
    assert submitted(command, kubeflow) == 0
    assert len(kubeflow.runs) == 1
    assert [fault.times for fault in kubeflow.faults] == [0, 0, 0, 0]


@pytest.mark.parametrize("fault", ["late-cut", "cut", 503])
def test_a_run_is_created_once_even_if_the_answer_is_lost(
    command: Command, kubeflow: Kubeflow, fault: int | str
) -> None:
    kubeflow.faults = [Fault("POST .*/runs$", fault)]
    assert submitted(command, kubeflow) == 0
    assert len(kubeflow.runs) == 1


def test_an_outage_without_end_is_exit_4(
    command: Command, kubeflow: Kubeflow, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeflow.faults = [Fault("GET .*/healthz", 502, times=99, message="bad gateway")]
    assert submitted(command, kubeflow) == 4
    assert "answers 502 (bad gateway)" in capsys.readouterr().err
    assert kubeflow.asked("GET .*/healthz") == cluster.ATTEMPTS


def test_nobody_there_is_exit_4(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    with serve(Kubeflow()) as gone:
        address = gone.url
    assert command("submit", "--host", address) == 4
    err = capsys.readouterr().err
    assert f"Kubeflow at {address} cannot be reached" in err
    assert len(err.splitlines()) == 1


def test_an_address_that_is_not_kubeflow_is_exit_4(
    command: Command, kubeflow: Kubeflow, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("submit", "--host", f"{kubeflow.url}/elsewhere") == 4
    assert "is not Kubeflow Pipelines 2" in capsys.readouterr().err


def test_a_token_that_expires_while_waiting(
    command: Command, kubeflow: Kubeflow, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kubeflow.token = PLANTED
    monkeypatch.setenv("KFP_TOKEN", PLANTED)
    kubeflow.polls = [("RUNNING", {})]
    kubeflow.faults = [Fault("GET .*/runs/", 401)]
    assert submitted(command, kubeflow) == 7
    out, err = capsys.readouterr()
    assert "refused the credentials (401): they have expired" in err
    assert f"The run goes on: {kubeflow.url}/#/runs/details/{kubeflow.runs[0].run_id}" in err
    assert PLANTED not in out + err


def test_a_wrong_token_submits_nothing(command: Command, kubeflow: Kubeflow, monkeypatch: pytest.MonkeyPatch) -> None:
    kubeflow.token = PLANTED
    monkeypatch.setenv("KFP_TOKEN", "another")
    assert submitted(command, kubeflow) == 7
    assert kubeflow.asked("POST") == 0


def test_a_token_file_is_read_again_as_it_changes(command: Command, kubeflow: Kubeflow, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    kubeflow.token = "first"
    assert submitted(command, kubeflow, "--token-file", str(file), "--no-wait") == 0
    file.write_text("second")
    kubeflow.token = "second"
    assert submitted(command, kubeflow, "--token-file", str(file)) == 0
    assert submitted(command, kubeflow, "--token-file", str(tmp_path / "none")) == 2


def test_no_address_is_said(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("submit") == 2
    assert "--host is missing" in capsys.readouterr().err


def test_a_cookie_is_sent_and_never_said(
    command: Command, kubeflow: Kubeflow, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KFP_COOKIE", f"authservice_session={PLANTED}")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", f"{PLANTED}-secret")
    assert submitted(command, kubeflow) == 0
    headers = [headers for _, _, headers, _ in kubeflow.requests]
    assert all(header.get("Cookie") == f"authservice_session={PLANTED}" for header in headers)
    out, err = capsys.readouterr()
    assert PLANTED not in out + err
    assert all(PLANTED.encode() not in body for _, _, _, body in kubeflow.requests)


def test_a_login_page_is_not_an_answer(
    command: Command, kubeflow: Kubeflow, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeflow.faults = [Fault("GET", "html", times=9)]
    assert submitted(command, kubeflow) == 7
    assert "answers with a web page, probably a login" in capsys.readouterr().err


def test_a_refusal_is_said_in_kubeflows_words(
    command: Command, kubeflow: Kubeflow, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeflow.faults = [Fault("POST .*/runs$", 400, message="unknown service account moist-runer")]
    assert submitted(command, kubeflow, "--service-account", "moist-runer") == 2
    assert "unknown service account moist-runer" in capsys.readouterr().err


def test_a_kubeflow_with_users_needs_a_namespace(
    command: Command, kubeflow: Kubeflow, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeflow.multi_user = True
    assert submitted(command, kubeflow) == 2
    assert "--namespace" in capsys.readouterr().err
    assert submitted(command, kubeflow, "--namespace", "team-a") == 0
    assert kubeflow.experiments[0].namespace == "team-a"


def test_a_kubeflow_without_users_is_not_sent_a_namespace(
    command: Command, kubeflow: Kubeflow, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submitted(command, kubeflow, "--namespace", "moist-dev") == 0
    assert "--namespace moist-dev has no effect" in capsys.readouterr().err
    assert not kubeflow.experiments[0].namespace
    assert kubeflow.asked("moist-dev") == 0


def test_no_wait_leaves_with_the_runs_id(
    command: Command, kubeflow: Kubeflow, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeflow.polls = [("RUNNING", {})]
    assert submitted(command, kubeflow, "--no-wait") == 0
    assert capsys.readouterr().out.strip() == kubeflow.runs[0].run_id


def test_keep_as_makes_a_pipeline_then_versions_of_it(command: Command, kubeflow: Kubeflow) -> None:
    for _ in range(2):
        assert submitted(command, kubeflow, "--keep-as", "moist") == 0
    assert [pipeline.display_name for pipeline in kubeflow.pipelines] == ["moist"]
    assert len(kubeflow.versions) == 2
    references = [run.pipeline_version_reference.pipeline_version_id for run in kubeflow.runs]
    assert references == [version.pipeline_version_id for version in kubeflow.versions]
    for documents in kubeflow.packages:
        assert components.load_component_from_text(yaml.safe_dump_all(documents)).name == "small"


@pytest.mark.parametrize(
    "arguments", [("--gpus", "-1"), ("--gpus", "one"), ("--token", PLANTED), ("--host", "ftp://x"), ("--epochs", "3")]
)
def test_bad_flags_send_nothing(command: Command, kubeflow: Kubeflow, arguments: tuple[str, ...]) -> None:
    try:
        code: Any = submitted(command, kubeflow, *arguments)
    except SystemExit as exit_:
        code = exit_.code
    assert code == 2
    assert kubeflow.requests == []


def test_bad_settings_are_found_before_anything_is_sent(command: Command, kubeflow: Kubeflow) -> None:
    assert submitted(command, kubeflow, "--count", "0") == 2
    assert kubeflow.requests == []


def test_runs_lists_what_kubeflow_knows(
    command: Command, kubeflow: Kubeflow, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeflow.polls = [("SUCCEEDED", {})]
    assert submitted(command, kubeflow) == 0
    assert submitted(command, kubeflow, "--no-wait") == 0
    capsys.readouterr()
    assert command("runs", "--host", kubeflow.url) == 0
    heading, newest, oldest = capsys.readouterr().out.splitlines()
    assert heading.split() == ["run", "name", "state", "data", "set", "started", "seconds"]
    assert (newest.split()[0], newest.split()[2]) == (kubeflow.runs[1].run_id, "pending")
    assert oldest.split()[2:4] == ["succeeded", "digits"]
    assert oldest.endswith("90")


def test_an_interrupt_leaves_the_run_alone(kubeflow: Kubeflow) -> None:
    kubeflow.polls = [("RUNNING", {})]
    arguments = ["submit", "--host", kubeflow.url, "--preset", "smoke"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "pipeline.py"), *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    while not kubeflow.asked("GET .*/runs/") and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"Interrupted. The run goes on: {kubeflow.url}/#/runs/details/{kubeflow.runs[0].run_id}" in err
    assert json.dumps(PLANTED) not in err
