"""The built images, run as a cluster would run them: `make images`, then `pytest -m engine tests/cluster`."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import moist
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
REPOSITORY = os.environ.get("IMAGE_REPOSITORY", "localhost/moist")
TAG = os.environ.get("IMAGE_TAG", moist.__version__)
HARDENED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none", "--tmpfs=/tmp")
TARGETS = ("slim", "train")

pytestmark = pytest.mark.engine


def docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=240)


@pytest.fixture(scope="session")
def engine() -> None:
    if shutil.which("docker") is None or docker("info").returncode != 0:
        pytest.skip("no container engine answers: docker/start-engine.sh")


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest, engine: None) -> str:
    """Each image's target in turn."""
    built(request.param)
    return str(request.param)


@pytest.fixture
def slim(engine: None) -> str:
    return built("slim")


@pytest.fixture
def train(engine: None) -> str:
    return built("train")


def built(target: str) -> str:
    image = f"{REPOSITORY}-{target}:{TAG}"
    if docker("image", "inspect", image).returncode != 0:
        pytest.skip(f"{image} is not built: make images")
    return image


def run(target: str, *command: str, flags: tuple[str, ...] = ()) -> str:
    """What a command prints in a hardened container; the test fails where the command does."""
    done = docker("run", "--rm", *HARDENED, *flags, built(target), *command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def python(target: str, code: str, flags: tuple[str, ...] = ()) -> Any:
    """What a line of Python prints as JSON inside."""
    return json.loads(run(target, "python3", "-c", code, flags=flags))


def configuration(target: str) -> dict[str, Any]:
    return dict(json.loads(docker("image", "inspect", built(target)).stdout)[0])


def test_runs_as_a_user_who_is_not_root_and_writes_only_to_tmp(target: str) -> None:
    assert configuration(target)["Config"]["User"] == "65532:65532"
    code = (
        "import json, os, pathlib, tempfile\n"
        "def writable(path):\n"
        "    try: pathlib.Path(path, 'x').write_text('x')\n"
        "    except OSError: return False\n"
        "    return True\n"
        "print(json.dumps([os.getuid(), [p for p in ('/', '/opt/moist', '/opt/venv', '/usr', '/tmp') if writable(p)]]))"
    )
    assert python(target, code) == [65532, ["/tmp"]]


def test_works_as_any_user(target: str) -> None:
    code = "import getpass, json, moist, pathlib; print(json.dumps([getpass.getuser(), str(pathlib.Path.home())]))"
    assert python(target, code, flags=("--user=12345:0",)) == ["moist", "/tmp"]


def test_holds_no_capability(target: str) -> None:
    status = run(target, "python3", "-c", "print(open('/proc/self/status').read())")
    assert re.findall(r"^Cap(?:Prm|Eff|Bnd):\s*0+$", status, re.MULTILINE).__len__() == 3
    assert "NoNewPrivs:\t1" in status


def test_the_package_is_this_checkout(target: str) -> None:
    code = (
        "import importlib.metadata as m, json, moist; "
        "print(json.dumps([m.version('moist'), moist.__file__, moist.__version__]))"
    )
    assert python(target, code) == [moist.__version__, "/opt/moist/moist/__init__.py", moist.__version__]


def test_slim_has_neither_torch_nor_kubeflow(slim: str) -> None:
    code = (
        "import importlib.util as u, json; "
        "print(json.dumps([n for n in ('torch', 'torchvision', 'kfp', 'nvidia', 'pip') if u.find_spec(n)]))"
    )
    # `pip` is the base's own where there is one; it is not on the path of the environment.
    assert python("slim", code) == []


def test_slim_imports_every_library_it_is_there_for(slim: str) -> None:
    code = (
        "import jinja2, json, matplotlib.pyplot, minio, numpy, pydantic, safetensors.numpy, sklearn.cluster; "
        "matplotlib.pyplot.figure().savefig('/tmp/figure.png'); "
        "labels = sklearn.cluster.KMeans(2, n_init=1, random_state=0).fit_predict(numpy.array([[0.0], [0.1], [9.0]])); "
        "print(json.dumps(bool(labels[0] == labels[1] != labels[2])))"
    )
    assert python("slim", code) is True


def test_train_computes_on_a_cpu(train: str) -> None:
    code = (
        "import fvcore.nn, json, sacrebleu, sentencepiece, torch, torchvision; "
        "layer = torch.nn.Linear(3, 1); layer(torch.ones(2, 3)).sum().backward(); "
        "print(json.dumps([layer.weight.grad.sum().item(), torch.version.cuda is not None]))"
    )
    assert python("train", code) == [6.0, True]


def test_installed_versions_are_the_locked_ones(target: str) -> None:
    code = (
        "import importlib.metadata as m, json, sys; "
        "print(json.dumps([sys.version.split()[0], "
        "{d.name.lower().replace('_', '-').replace('.', '-'): d.version "
        "for d in m.distributions(path=[p for p in sys.path if p.startswith('/opt/venv/')])}]))"
    )
    version, installed = python(target, code)
    environment = {"python_full_version": version, "python_version": version.rpartition(".")[0]}
    lock = (ROOT / "docker" / f"requirements-{target}.lock").read_text()
    wanted = {}
    for line in re.findall(r"^([a-z0-9._-]+==[^\\\n]+)", lock, re.MULTILINE):
        requirement = Requirement(line.strip())
        if requirement.marker is None or requirement.marker.evaluate(environment):
            wanted[requirement.name.replace(".", "-")] = next(iter(requirement.specifier)).version
    assert len(wanted) > 20
    assert installed == wanted


def test_nothing_to_build_with_and_no_cache_is_left(target: str) -> None:
    script = (
        (
            "for tool in gcc cc g++ clang make ld as; do command -v $tool; done; "
            "find / -xdev ( -path '*/.cache/pip' -o -name 'pip-*' -path '/tmp/*' -o -name '*.whl' -path '/opt/*' "
            "-o -path '/build/*' -o -path /opt/pip ) 2>/dev/null; true"
        )
        .replace("( ", r"\( ")
        .replace(" )", r" \)")
    )
    assert run(target, "sh", "-c", script) == ""


def test_bytecode_is_there_already(target: str) -> None:
    code = "import json, moist, numpy, os; print(json.dumps([os.path.exists(m.__cached__) for m in (moist, numpy)]))"
    assert python(target, code) == [True, True]


def test_labels_tell_what_the_image_is(target: str) -> None:
    labels = configuration(target)["Config"]["Labels"]
    prefix = "org.opencontainers.image."
    assert labels[f"{prefix}title"] == f"moist-{target}"
    assert labels[f"{prefix}licenses"] == "Apache-2.0"
    assert labels[f"{prefix}version"] == moist.__version__
    for name in ("description", "revision", "source", "base.name"):
        assert labels[f"{prefix}{name}"]
    assert "@" not in labels[f"{prefix}source"].partition("://")[2].partition("/")[0]


def test_nothing_of_the_build_is_left_in_environment_or_history(target: str) -> None:
    environment = "\n".join(configuration(target)["Config"]["Env"])
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", built(target)).stdout
    assert not re.search(r"PIP_|proxy|index.url", environment + history, re.IGNORECASE)


def test_size_is_the_recorded_one(target: str) -> None:
    """The README's table, within a tenth: a dependency that doubles an image is noticed."""
    recorded = re.search(rf"moist-{target}[^|]*\|\s*\d+\s*\|\s*(\d+)", (ROOT / "docker" / "README.md").read_text())
    assert recorded
    image = built(target)
    sizes = subprocess.run([ROOT / "docker" / "sizes.sh", image], capture_output=True, text=True, check=True).stdout
    above_base = int(sizes.split()[-1])
    assert 0.9 < above_base / int(recorded[1]) < 1.1
