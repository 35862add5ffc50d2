"""Runs the tasks of a local run in containers of the real images: hardened, and with no network but the store's.

The tasks' network has no way out and no address of this machine, only a relay (moist.runtime.relay) that forwards to
the store; a second network, of the relay alone, leads there.
"""

import contextlib
import ipaddress
import os
import re
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from moist.errors import InputError, MoistError, StoreError
from moist.runtime import local_store
from moist.runtime.store import ENDPOINT_VARIABLES, store_is_configured

USER = 65532
"""The images' own user, for a run that root starts; anybody else's containers run as who started them."""

RUN_LABEL, OWNER_LABEL = "moist.run", "moist.owner"
ALIAS = "store"
HARDENED: dict[str, Any] = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "tmpfs": {"/tmp": "mode=1777"},  # as large as the kernel allows: half of the memory
    "shm_size": "2g",  # data loaders and torch.distributed pass tensors through it
}
# Without an address of this machine in it, a network's containers cannot call what listens on this machine. The second
# option is how newer engines say the same; older ones ignore it.
ISOLATED = {
    "com.docker.network.bridge.inhibit_ipv4": "true",
    "com.docker.network.bridge.gateway_mode_ipv4": "isolated",
}
# The variables of this process that a task's container gets as well.
PASSED_ON = ("MOIST_", "OMP_")
CODE_VERSION = re.compile(r"\S+\+[0-9a-f]{12}")


class Containers:
    """The engine's side of one run; `started` makes it."""

    def __init__(self, client: Any, run_id: str, images: dict[str, str]) -> None:
        self.images = images
        """Id of each image by the reference that the pipeline has for it."""
        self.code_version = ""
        """The code inside the images, known while the store runs."""
        self._client = client
        self._run_id = run_id
        self._labels = {RUN_LABEL: run_id, OWNER_LABEL: f"{socket.gethostname()}:{os.getpid()}"}
        self._environment: dict[str, str] = {}
        self._network = ""
        self._running: set[Any] = set()

    @contextmanager
    def store(self, root: Path) -> Iterator[dict[str, str]]:
        """As `local_store.store`, for this machine; meanwhile the same store can be reached from the tasks' network."""
        with _engine_errors():
            # The embedded store needs no way out of this machine; a configured one may be anywhere.
            uplink = self._make_network("uplink", internal=not store_is_configured(), options={})
            inside = self._make_network("tasks", internal=True, options=ISOLATED)
            gateway = str(uplink.attrs["IPAM"]["Config"][0]["Gateway"])
        if not store_is_configured():
            _check_local(gateway)
        with local_store.store(root, host=gateway) as environment:
            with _engine_errors():
                self._start_relay(environment, uplink, inside)
            yield environment

    def run(
        self,
        name: str,
        image: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        sources: Sequence[str] = (),
    ) -> int:
        """Run a task in a container of its own and show what it says on stderr; returns its exit code.

        The container may write into `folder` and /tmp, and read `sources`, paths of this machine.
        """
        folder.mkdir(parents=True, exist_ok=True)
        volumes = {str(folder): {"bind": str(folder), "mode": "rw,z"}}
        for source in sources:
            # A relative path is relative to the images' working folder, /tmp.
            volumes[str(Path(source).resolve())] = {"bind": os.path.normpath(Path("/tmp", source)), "mode": "ro"}
        passed_on = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
        with _engine_errors():
            container = self._client.containers.create(
                self.images[image],
                entrypoint=list(command),
                environment={**passed_on, **environment, **self._environment},
                network=self._network,
                dns=["127.0.0.1"],  # nobody: no name but the store's is looked up for a task
                volumes=volumes,
                user=_user_who_owns(folder),
                labels=self._labels,
                name=f"{self._run_id}-{name}",
                **HARDENED,
            )
            self._running.add(container)
            try:
                container.start()
                with contextlib.closing(container.logs(stream=True, follow=True)) as said:
                    for chunk in said:
                        sys.stderr.buffer.write(chunk)
                        sys.stderr.buffer.flush()
                return int(container.wait()["StatusCode"])
            finally:
                self._running.discard(container)
                container.remove(force=True, v=True)

    def stop(self) -> None:
        """End every task that runs; their containers go as their threads notice."""
        for container in list(self._running):
            with contextlib.suppress(Exception):
                container.kill()

    def remove(self) -> None:
        """Remove every container and network of this run."""
        with _engine_errors():
            _remove(self._client, f"{RUN_LABEL}={self._run_id}")

    def _make_network(self, name: str, internal: bool, options: dict[str, str]) -> Any:
        network = self._client.networks.create(
            f"{self._run_id}-{name}", driver="bridge", internal=internal, options=options, labels=self._labels
        )
        network.reload()
        return network

    def _start_relay(self, environment: Mapping[str, str], uplink: Any, inside: Any) -> None:
        variable = next(name for name in ENDPOINT_VARIABLES if environment.get(name))
        scheme, host, port = _endpoint(environment[variable])
        name = ALIAS if _is_address(host) else host  # a name stays, since a certificate may be for it
        image = next(iter(self.images))  # any has the relay
        relay = self._client.containers.create(
            self.images[image],
            entrypoint=["python3", "-m", "moist.runtime.relay", _address(host), str(port)],
            network=uplink.name,
            user=f"{USER}:{USER}",
            labels=self._labels,
            name=f"{self._run_id}-relay",
            **HARDENED,
        )
        inside.connect(relay, aliases=[name])
        relay.start()
        said = _readiness(relay)
        if not CODE_VERSION.fullmatch(said):
            raise MoistError(f"Image {image} cannot forward to the store ({said[-200:]!r}): run make images.")
        self.code_version = said
        self._network = inside.name
        self._environment = {**environment, variable: f"{scheme}://{name}:{port}"}


def _readiness(container: Any) -> str:
    """The version that a relay says once it listens, or all that it said before it ended."""
    while True:
        container.reload()
        said: str = container.logs().decode(errors="replace").strip()
        if CODE_VERSION.fullmatch(said) or container.status != "running":
            return said
        time.sleep(0.05)


@contextmanager
def started(run_id: str, pipeline: Any) -> Iterator[Containers]:
    """An engine that is ready for a run of a pipeline; leaves no container and no network behind.

    Raises:
        InputError: if an image of the pipeline is not on this machine.
        MoistError: if there is no engine, or it refuses.
    """
    with _client() as client:
        with _engine_errors():
            _remove_leftovers(client)
            images = {reference: _image_id(client, reference) for reference in _images_of(pipeline)}
        containers = Containers(client, run_id, images)
        try:
            yield containers
        finally:
            containers.remove()


@contextmanager
def _client() -> Iterator[Any]:
    try:
        # Where the SDK is missing, the folder docker/ of a checkout may be imported in its place, and has no names.
        from docker import DockerClient
    except ImportError:
        raise MoistError("--runner docker needs the Docker SDK for Python: pip install 'docker>=7'.") from None
    from docker.errors import DockerException

    try:
        client = DockerClient.from_env()
        client.ping()
    except (DockerException, OSError) as error:
        raise MoistError(
            f"No container engine answers ({str(error)[:200]}): start one (docker/start-engine.sh does, on Debian), or "
            "use --runner host."
        ) from None
    with contextlib.closing(client):
        yield client


@contextmanager
def _engine_errors() -> Iterator[None]:
    from docker.errors import DockerException

    try:
        yield
    except (DockerException, OSError) as error:  # a connection to the engine that breaks is an OSError
        reason = getattr(error, "explanation", None) or str(error)
        raise MoistError(f"The container engine refused or failed: {reason}.") from None


def _images_of(pipeline: Any) -> list[str]:
    executors = pipeline.pipeline_spec.deployment_spec["executors"].values()
    return sorted({executor["container"]["image"] for executor in executors if "container" in executor})


def _image_id(client: Any, reference: str) -> str:
    from docker.errors import ImageNotFound

    try:
        return str(client.images.get(reference).id)
    except ImageNotFound:
        raise InputError(
            f"Image {reference} is not on this machine: make images builds it, docker pull fetches a published one; "
            "--repository and --tag name others."
        ) from None


def _remove(client: Any, label: str) -> None:
    for container in client.containers.list(all=True, filters={"label": label}, ignore_removed=True):
        container.remove(force=True, v=True)
    for network in client.networks.list(filters={"label": label}):
        network.remove()


def _remove_leftovers(client: Any) -> None:
    """What runs that were killed could not remove: an engine has room for about thirty networks."""
    found = [*client.containers.list(all=True, filters={"label": OWNER_LABEL}, ignore_removed=True)]
    labels = [container.labels for container in found]
    labels += [network.attrs["Labels"] for network in client.networks.list(filters={"label": OWNER_LABEL})]
    for owner in {label[OWNER_LABEL] for label in labels}:
        host, _, process = owner.rpartition(":")
        if host == socket.gethostname() and not _is_alive(int(process)):
            _remove(client, f"{OWNER_LABEL}={owner}")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # another user's
    return True


def _user_who_owns(folder: Path) -> str:
    """The user of a task's container: never root, and one that may write into the task's folder."""
    if os.getuid() != 0:
        return f"{os.getuid()}:{os.getgid()}"
    os.chown(folder, USER, USER)
    return f"{USER}:{USER}"


def _endpoint(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url if "://" in url else f"https://{url}")
    return parts.scheme, parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _address(host: str) -> str:
    """What the relay connects to, looked up here, where names of this machine and its network are known."""
    try:
        address = socket.gethostbyname(host)
    except OSError as error:
        raise StoreError(f"The store's host {host!r} cannot be looked up ({error}); is the endpoint right?") from None
    if ipaddress.ip_address(address).is_loopback:
        raise InputError(
            f"The store at {host} listens on this machine only, where no container reaches it: give its address in "
            "the network, or use --runner host."
        )
    return address


def _check_local(gateway: str) -> None:
    with socket.socket() as probe:
        try:
            probe.bind((gateway, 0))
        except OSError:
            raise MoistError(
                f"The container engine's networks do not end on this machine ({gateway} is not an address of it): with "
                f"an engine elsewhere, set {ENDPOINT_VARIABLES[0]} to a store that it reaches."
            ) from None
