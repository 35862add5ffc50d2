"""What a user can get wrong on the pipeline's command line: one sentence, the right exit code, nothing run."""

from pathlib import Path

import pytest
from conftest import run_command, run_program


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dataset", "imagenet", "--preset", "smoke"], "imagenet"),
        (["--joint-epochs", "0"], "with epochs=0 all students are alike"),
        (["--k", "-3"], "Setting k=-3 is not allowed"),
        (["--k", "1"], "Setting k=1 is not allowed: must be 0, or at least 2"),
        (["--router-answers", "--second-share", "0.3"], "it needs --router class"),
        (["--router-answers", "true", "--router", "class"], "it needs a second_share above 0"),
        (["--second-mirrored"], "second_mirrored=True is not allowed: it needs router_answers"),
        (["--preset", "best", "--second-mirrored", "true"], "training does not mirror digits"),
        (
            ["--preset", "best", "--k", "3", "--second-mirrored", "true"],
            "single student: give --k 1, or --second-mirrored false",
        ),
        (["--preset", "best", "--shared-layers", "1"], "it needs a class router"),
        (["--routing", "hard", "--mutual-weight", "0.1"], "it would do nothing: only routing=soft"),
        (["--routing", "hard", "--shared-layers", "2"], "nothing trains the router of shared layers"),
        (["--preset", "paper", "--second-share", "0.3"], "it needs validation images, and validation_fraction is 0"),
        (["--dataset", "cifar10", "--source", "s3://key:secret@bucket/x"], "A URI must not hold credentials"),
        (["--pipeline", "mode", "--tables", '["digits", "s3://key:secret@bucket/x"]'], "must not hold credentials"),
        (
            ["--pipeline", "mode", "--images", '[{"dataset": "cifar10", "source": "s3://key:secret@bucket/x"}]'],
            "must not hold credentials",
        ),
        (["--k", "11"], "Setting k=11 is not allowed: digits has 10 classes"),
        (["--oracle-k", "12"], "Setting k=12 is not allowed: digits has 10 classes"),
        (["--pipeline", "sweep", "--other-k", "[2, 40]"], "Setting k=40 is not allowed: digits has 10 classes"),
        (
            ["--pipeline", "mode", "--candidates", "0.5"],
            "alphas='0, 0.01, 0.1' of dense-4 is not allowed: it needs 0, the",
        ),
        (["--pipeline", "mode", "--candidates", "few"], "Setting candidates='few' is not allowed"),
        (["--pipeline", "mode", "--variants", "5"], "variants must be a list, not 5"),
        (["--temperature", "0"], "is not allowed: input should be greater than 0"),
        (["--routing", "random"], "'soft', 'hard' or 'oracle'"),
        (["--teacher", "vgg"], "'resnet18' or 'small_resnet'"),
        (["--dataset", "cifar10", "--source", "/nowhere/at/all"], "/nowhere/at/all"),
    ],
)
def test_bad_arguments_end_with_one_sentence_and_exit_code_2(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = run_command("run", "--home", str(tmp_path), *arguments)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "train-teacher" not in done.stderr


def test_every_bad_setting_is_said_at_once(tmp_path: Path) -> None:
    done = run_program("run", "--home", str(tmp_path), "--joint-epochs", "0", "--width", "0", "--seed", "-1")
    assert done.returncode == 2
    for name in ("epochs=0", "width=0", "seed=-1"):
        assert name in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["compile", "--output", "moist.txt"], "--output moist.txt must end in .yaml"),
        (["compile", "--pipeline", "sweep", "--output", "sweep"], "--output sweep must end in .yaml"),
        (["compile", "--output", "/dev/null/x.yaml"], "/dev/null: "),
        (["run", "--preset", "smoke", "--home", "/dev/null"], "/dev/null/"),
    ],
)
def test_a_place_that_cannot_be_written_is_one_sentence(arguments: list[str], said: str) -> None:
    done = run_command(*arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert said in done.stderr


@pytest.mark.parametrize("arguments", [["--teacher-epochs", "many"], ["--no-such-setting", "1"], ["--preset", "huge"]])
def test_words_that_are_no_arguments_are_refused(arguments: list[str]) -> None:
    done = run_command("run", *arguments)
    assert done.returncode == 2
    assert "error:" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["run", "--runner", "docker", "--dataset", "cifar10", "--source", "download"], "cifar10"),
        (["submit", "--host", "http://localhost:1", "--dataset", "mnist", "--source", "download"], "mnist"),
        (["submit", "--host", "http://localhost:1", "--pipeline", "mode", "--preset", "paper"], "mnist"),
        (["compile", "--dataset", "cifar10", "--source", "download"], "cifar10"),
    ],
)
def test_containers_do_not_download(arguments: list[str], name: str) -> None:
    done = run_command(*arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert f"Setting source=download of {name} is not allowed in containers" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--train-memory", "16GB"], "Setting train_memory='16GB' is not allowed: give a Kubernetes quantity"),
        (["--train-cpu", "lots"], "Setting train_cpu='lots' is not allowed"),
        (["--gpu-count", "two"], "Setting gpu_count='two' is not allowed"),
        (["--tolerations", '{"key": "x"}'], 'tolerations must be a list, not {"key": "x"}'),
        (["--node-selector", "[1]"], "node_selector must be a JSON object, not [1]"),
        (["--node-selector", '{"gpu": true}'], "Setting node_selector is not allowed (gpu: Input should be a valid"),
        (["--tolerations", '[{"opperator": "Exists"}]'], "Setting tolerations is not allowed (0.opperator: Extra"),
        (["--tolerations", '[{"key": 3}]'], "Setting tolerations is not allowed (0.key: Input should be a valid"),
        (["--gpu-type", "gpu"], "Setting gpu_type='gpu' is not allowed: give a resource, such as nvidia.com/gpu"),
        (["--train-memory", "0"], "Setting train_memory='0' is not allowed"),
    ],
)
def test_resources_that_kubernetes_would_refuse(arguments: list[str], said: str) -> None:
    done = run_command("compile", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dataset", "cifar10"], "Data set cifar10 is not bundled"),
        (["--dataset", "digits", "--source", "s3://bucket/digits"], "Data set digits is bundled"),
        (["--dataset", "nothing"], "Setting name='nothing' is not allowed"),
        (["--dataset", "cifar10", "--source", "/data/cifar"], "Setting source='/data/cifar' is not allowed in contain"),
        (["--dataset", "cifar10", "--source", "gs://b/c"], "Setting source='gs://b/c' is not allowed in containers"),
        (["--pipeline", "mode", "--tables", "./my.csv"], "Setting source='./my.csv' is not allowed in containers"),
        (
            ["--pipeline", "mode", "--text-source", "a", "--text-target", "b"],
            "Setting source='a' is not allowed in",
        ),
    ],
)
def test_a_cluster_finds_no_such_data(arguments: list[str], said: str) -> None:
    done = run_command("compile", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_containers_of_this_machine_reach_no_openml() -> None:
    done = run_command("run", "--runner", "docker", "--pipeline", "mode", "--tables", "digits,300")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "Setting source=300, a table of OpenML, is not allowed in containers" in done.stderr
