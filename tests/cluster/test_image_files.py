"""The Dockerfile and the images' lock files say what they should, without an engine."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ("build", "slim", "train")


def locked(path: Path) -> dict[str, set[str]]:
    """The versions of each distribution in a lock file; several where they differ by Python version."""
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9._-]+)==([^ \\]+)", path.read_text(), re.MULTILINE):
        versions.setdefault(name, set()).add(version)
    return versions


def image_lock(name: str) -> dict[str, set[str]]:
    return locked(ROOT / "docker" / f"requirements-{name}.lock")


def required(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!~\[ ;]", requirement)[0].lower() for requirement in requirements}


@pytest.mark.parametrize("name", LOCKS)
def test_image_locks_agree_with_the_lock(name: str) -> None:
    everything = locked(ROOT / "requirements.lock")
    image = image_lock(name)
    assert image
    assert {key: versions for key, versions in image.items() if everything.get(key) != versions} == {}


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_distribution_has_a_hash(name: str) -> None:
    entries = re.split(r"^(?=[a-z0-9._-]+==)", (ROOT / "docker" / f"requirements-{name}.lock").read_text(), flags=re.M)
    assert len(entries) > 1
    assert [entry.split(" ")[0] for entry in entries[1:] if "--hash=sha256:" not in entry] == []


def test_image_locks_hold_what_the_project_declares() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    base = required(settings["project"]["dependencies"])
    extras = {name: required(extra) for name, extra in settings["project"]["optional-dependencies"].items()}
    slim, train = set(image_lock("slim")), set(image_lock("train"))
    assert base <= slim <= train
    assert extras["train"] | extras["export"] <= train
    assert not slim & set().union(*extras.values())
    assert not train & (extras["openvino"] | extras["pipeline"] | extras["dev"])
    assert required(settings["build-system"]["requires"]) == set(image_lock("build"))


def test_the_default_base_is_an_official_image_by_digest() -> None:
    text = (ROOT / "docker" / "Dockerfile").read_text()
    assert re.search(r"^ARG BASE=docker\.io/library/python:3\.\d+-slim-\w+@sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", text, re.MULTILINE)
    assert {source for source, _ in stages} <= {"${BASE}", *(name for _, name in stages)}
    assert len(stages) == len(re.findall(r"^FROM ", text, re.MULTILINE))


def test_the_dockerfile_is_lint_free() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "docker" / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


def test_the_build_context_leaves_out_all_but_what_is_copied() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "docker" / "Dockerfile").read_text(), re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    allowed = {path for pattern in patterns if pattern.startswith("!") for path in ROOT.glob(pattern[1:])}
    assert {ROOT / source for source in sources} == allowed


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "docker").glob("*.sh")))
def test_scripts_parse(script: str) -> None:
    done = subprocess.run(["sh", "-n", ROOT / "docker" / script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
