"""`pipeline.py run --runner docker`: what its containers may do, what they reach, and what is left of them."""

import contextlib
import json
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from moist.runtime.containers import OWNER_LABEL, RUN_LABEL, Containers, started
from moist.runtime.local_store import BUCKET, store
from moist.runtime.store import ENDPOINT_VARIABLES, Store

pytestmark = [pytest.mark.engine, pytest.mark.timeout(2000)]

NotFound = pytest.importorskip("docker.errors").NotFound
TASKS = 12


@dataclass
class Seen:
    """A run of the pipeline, and how the engine described each of its containers while it ran."""

    home: Path
    id: str = ""
    stdout: str = ""
    stderr: str = ""
    containers: dict[str, dict[str, Any]] = field(default_factory=dict)
    networks: dict[str, dict[str, Any]] = field(default_factory=dict)


def watch(engine: Any, seen: Seen, finished: threading.Event) -> None:
    """Every container of a run lives for more than a second."""
    known = set()
    while not finished.wait(0.1):
        for entry in engine.api.containers(filters={"label": RUN_LABEL}):
            if entry["Id"] in known:
                continue
            with contextlib.suppress(NotFound):  # gone already, as other runs' may be
                facts = engine.api.inspect_container(entry["Id"])
                for network in facts["NetworkSettings"]["Networks"]:
                    seen.networks[network] = engine.api.inspect_network(network)
                seen.containers[facts["Name"].removeprefix("/")] = facts
                known.add(entry["Id"])


def left(engine: Any) -> list[str]:
    """Containers and networks of runs that this machine's engine still has."""
    containers = engine.containers.list(all=True, filters={"label": OWNER_LABEL}, ignore_removed=True)
    return [each.name for each in [*containers, *engine.networks.list(filters={"label": OWNER_LABEL})]]


@pytest.fixture(scope="module")
def seen(engine: Any, images: dict[str, str], pipeline_command: Any, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    found = Seen(tmp_path_factory.mktemp("home"))
    finished = threading.Event()
    watcher = threading.Thread(target=watch, args=(engine, found, finished))
    watcher.start()
    process = pipeline_command("run", "--runner", "docker", "--preset", "smoke", "--home", str(found.home))
    try:
        found.stdout, found.stderr = process.communicate(timeout=1800)  # minutes, where nothing else runs
    finally:
        process.terminate()  # where it has not ended: it takes its containers along
        finished.set()
        watcher.join(30)
    assert process.returncode == 0, found.stderr
    started_as = re.search(r"^Run (\S+):", found.stderr, re.MULTILINE)
    assert started_as
    found.id = started_as[1]
    found.containers = {name: facts for name, facts in found.containers.items() if name.startswith(found.id)}
    return found


@pytest.fixture(scope="module")
def tasks(seen: Seen) -> dict[str, dict[str, Any]]:
    relay = f"{seen.id}-relay"
    assert relay in seen.containers
    return {name.removeprefix(f"{seen.id}-"): facts for name, facts in seen.containers.items() if name != relay}


def test_it_prints_the_table_and_what_the_stages_say(seen: Seen) -> None:
    assert "Conceptual 100% router" in seen.stdout
    assert (seen.home / "runs" / seen.id / "report.html").exists()
    assert "train_teacher epoch 2/2: loss" in seen.stderr


def test_the_images_hold_this_checkouts_code(seen: Seen) -> None:
    assert "not this checkout's code" not in seen.stderr, "make images"


def test_every_task_had_a_container_of_its_own_of_the_real_images(
    seen: Seen, tasks: dict[str, dict[str, Any]], images: dict[str, str]
) -> None:
    assert len(tasks) == TASKS
    slim, train = images.values()
    of = {name: facts["Image"] for name, facts in tasks.items()}
    assert {name for name, image in of.items() if image == slim} == {"prepare-data", "cluster-logits", "cluster-oracle"}
    assert set(of.values()) == {slim, train}


def test_containers_are_hardened(seen: Seen) -> None:
    assert len(seen.containers) == TASKS + 1  # and the relay
    for name, facts in seen.containers.items():
        host, config = facts["HostConfig"], facts["Config"]
        user, _, group = config["User"].partition(":")
        assert int(user) > 0, name
        assert int(group) > 0, name
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert not host["CapAdd"], name
        assert not host["Privileged"], name
        assert host["SecurityOpt"] == ["no-new-privileges"], name
        assert set(host["Tmpfs"]) == {"/tmp"}, name
        assert host["ShmSize"] >= 1 << 30, name
        assert not host["Devices"], name
        assert not host["PortBindings"], name
        assert host["PidMode"] == "", name
        assert host["IpcMode"] == "private", name


def test_a_task_sees_its_own_folder_and_the_tasks_network_only(seen: Seen, tasks: dict[str, dict[str, Any]]) -> None:
    for name, facts in tasks.items():
        (mount,) = facts["Mounts"]
        assert Path(mount["Source"]).name == name
        assert Path(mount["Source"]).is_relative_to(seen.home)
        assert set(facts["NetworkSettings"]["Networks"]) == {f"{seen.id}-tasks"}
    assert seen.containers[f"{seen.id}-relay"]["Mounts"] == []
    network = seen.networks[f"{seen.id}-tasks"]
    assert network["Internal"]
    assert network["Options"]["com.docker.network.bridge.inhibit_ipv4"] == "true"
    assert seen.networks[f"{seen.id}-uplink"]["Internal"]  # the embedded store is on this machine


def test_no_secret_is_in_a_containers_command(seen: Seen) -> None:
    secrets = json.loads((seen.home / "store" / "credentials.json").read_text()).values()
    for name, facts in seen.containers.items():
        command = json.dumps([facts["Path"], facts["Args"], facts["Config"]["Cmd"], facts["Config"]["Labels"]])
        for secret in secrets:
            assert secret not in command, name


def test_nothing_is_left_of_a_run(seen: Seen, engine: Any) -> None:
    assert not [name for name in left(engine) if name.startswith(seen.id)]


def test_the_record_names_the_images_and_a_second_run_is_cached(
    seen: Seen, images: dict[str, str], pipeline_command: Any
) -> None:
    with store(seen.home / "store") as environment:
        record = json.loads(Store.of(environment).get_bytes(f"s3://{BUCKET}/runs/{seen.id}/run.json"))
    assert record["images"] == images
    assert record["state"] == "succeeded"
    again = pipeline_command("run", "--runner", "docker", "--preset", "smoke", "--home", str(seen.home))
    stdout, stderr = again.communicate(timeout=600)
    assert stderr.count("unchanged, taken from") == TASKS
    assert stdout.split("Report:")[0] == seen.stdout.split("Report:")[0]


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_is_stopped_takes_its_containers_along(
    number: signal.Signals, exit_code: int, seen: Seen, engine: Any, pipeline_command: Any
) -> None:
    options = ("--preset", "smoke", "--seed", "7", "--no-cache", "--home", str(seen.home))
    process: subprocess.Popen[str] = pipeline_command("run", "--runner", "docker", *options)
    assert process.stderr
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("[1/"):
            break
    run = re.search(r"^Run (\S+):", "".join(lines), re.MULTILINE)
    assert run, lines
    deadline = time.monotonic() + 120
    while f"{run[1]}-prepare-data" not in left(engine) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert {f"{run[1]}-{name}" for name in ("relay", "tasks", "uplink", "prepare-data")} <= set(left(engine))
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == exit_code
    assert not [name for name in left(engine) if name.startswith(run[1])]


PROBE = """
import json, socket, sys
def reached(host, port):
    try:
        socket.create_connection((host, int(port)), 2).close()
        return True
    except OSError:
        return False
def found(name):
    try:
        return socket.gethostbyname(name)
    except OSError:
        return None
def writes(path):
    try:
        open(path + "/x", "w").close()
        return True
    except OSError:
        return False
places, names, folders = json.loads(sys.argv[1])
print(json.dumps("probing"), file=sys.stderr)
json.dump({
    "reached": [place for place in places if reached(*place)],
    "found": [name for name in names if found(name)],
    "writes": [folder for folder in folders if writes(folder)],
}, open(sys.argv[2] + "/result.json", "w"))
sys.exit(7)
"""


@dataclass
class SmallPipeline:
    """As much of a pipeline as the engine asks for."""

    image: str

    @property
    def pipeline_spec(self) -> "SmallPipeline":
        return self

    @property
    def deployment_spec(self) -> dict[str, Any]:
        return {"executors": {"one": {"container": {"image": self.image}}, "an importer": {"importer": {}}}}


@pytest.fixture
def slim(images: dict[str, str]) -> str:
    return next(iter(images))


@pytest.fixture
def containers(slim: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Containers]:
    for name in ENDPOINT_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with started(f"moist-test-{time.time_ns()}", SmallPipeline(slim)) as ready:
        yield ready


def address_of_machine() -> str:
    """The address with which this machine would call others."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nothing_is_sent:
        nothing_is_sent.connect(("192.0.2.1", 9))
        return str(nothing_is_sent.getsockname()[0])


def test_the_store_is_all_that_a_task_reaches(
    containers: Containers, slim: str, engine: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with ExitStack() as stack:
        environment = stack.enter_context(containers.store(tmp_path / "store"))
        listening = stack.enter_context(socket.create_server(("0.0.0.0", 0)))
        port = listening.getsockname()[1]
        gateways = {
            entry["Gateway"]
            for network in engine.networks.list(filters={"driver": "bridge"})
            for entry in network.attrs["IPAM"]["Config"]
            if "Gateway" in entry
        } | {address_of_machine()}
        address, _, store_port = environment[ENDPOINT_VARIABLES[0]].removeprefix("http://").partition(":")
        assert address in gateways
        with socket.create_connection((address, port), 5):
            pass  # the machine itself gets there
        places = [["store", store_port], [address, store_port], ["1.1.1.1", 443], *([each, port] for each in gateways)]
        asked = [places, ["store", "pypi.org", "host.docker.internal"], ["/", "/opt", str(tmp_path / "task"), "/tmp"]]
        command = ["python3", "-c", PROBE, json.dumps(asked), str(tmp_path / "task")]
        assert containers.run("probe", slim, command, environment, tmp_path / "task") == 7
    assert '"probing"\n' in capfd.readouterr().err
    assert json.loads((tmp_path / "task" / "result.json").read_text()) == {
        "reached": [["store", store_port]],
        "found": ["store"],
        "writes": [str(tmp_path / "task"), "/tmp"],
    }


@pytest.mark.parametrize("configured", [False, True])
def test_a_task_speaks_to_the_store_through_the_relay(
    configured: bool, containers: Containers, slim: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways, with more than one read's worth of bytes, and with the container's own view of the endpoint."""
    code = (
        "from moist.runtime.store import Store; s = Store.from_environment(); "
        f"s.put_bytes('s3://{BUCKET}/there', s.get_bytes('s3://{BUCKET}/here'))"
    )
    content = bytes(range(256)) * (1 << 14)
    with ExitStack() as stack:
        if configured:  # elsewhere, as far as the run's own networks can tell
            for name, value in stack.enter_context(store(tmp_path / "elsewhere", host=address_of_machine())).items():
                monkeypatch.setenv(name, value)
        here = Store.of(stack.enter_context(containers.store(tmp_path / "store")))
        here.ensure_bucket(BUCKET)
        here.put_bytes(f"s3://{BUCKET}/here", content)
        assert containers.run("copy", slim, ["python3", "-c", code], {}, tmp_path / "task") == 0
        assert here.get_bytes(f"s3://{BUCKET}/there") == content
    assert (tmp_path / "store").exists() != configured


def test_a_source_on_this_machine_can_be_read_and_not_written(
    containers: Containers, slim: str, tmp_path: Path
) -> None:
    source = tmp_path / "data"
    source.mkdir()
    (source / "images").write_text("pixels")
    source.chmod(0o777)
    code = f"""import sys
assert open('{source}/images').read() == 'pixels'
try:
    open('{source}/new', 'w')
except OSError:
    sys.exit(7)"""
    with containers.store(tmp_path / "store") as environment:
        command = ["python3", "-c", code]
        assert containers.run("reader", slim, command, environment, tmp_path / "task", [str(source)]) == 7
    assert [path.name for path in source.iterdir()] == ["images"]


def test_what_a_killed_run_left_goes_with_the_next_start(engine: Any, slim: str) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    labels = {RUN_LABEL: "moist-test-killed", OWNER_LABEL: f"{socket.gethostname()}:{gone.pid}"}
    network = engine.networks.create("moist-test-killed-tasks", driver="bridge", internal=True, labels=labels)
    engine.containers.create(slim, name="moist-test-killed-task", network=network.name, labels=labels)
    with started("moist-test-next", SmallPipeline(slim)):
        assert not [name for name in left(engine) if name.startswith("moist-test-killed")]


def test_an_image_that_is_not_there_is_named(engine: None, pipeline_command: Any, tmp_path: Path) -> None:
    command = ("run", "--runner", "docker", "--tag", "no-such", "--home", str(tmp_path))
    process = pipeline_command(*command)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (2, "")
    assert re.fullmatch(r"Image \S+:no-such is not on this machine: make images builds it, .*\n", stderr)
