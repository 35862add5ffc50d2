"""`doctor`: is everything there that runs need, here and on the cluster; each failure with what to do about it."""

import argparse
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from moist.errors import MoistError
from moist.runtime import local_store
from moist.runtime.cluster import HOST, Cluster, connect
from moist.runtime.flags import images_of
from moist.runtime.kubeflow import IMAGES, Images
from moist.runtime.store import Store, store_is_configured
from moist.runtime.terminal import show

SUPPORTED = "2.17"
CLUSTER_BUCKET = "mlpipeline"
"""Kubeflow's own; what a namespace's keys open may be no more."""
NEEDED_GB, WANTED_GB = 2, 10
FAILED = 1

State = Literal["ok", "warn", "skip", "FAIL"]


@dataclass(frozen=True)
class Finding:
    """What one check found. Only FAIL counts against the exit code; errors of ours say themselves what to do."""

    state: State
    subject: str
    detail: str
    fix: str = ""

    def __str__(self) -> str:
        advice = f"\n{'':19}fix: {self.fix}" if self.fix else ""
        return f"{self.state:4}  {self.subject:13}{self.detail}{advice}"


def doctor_command(options: argparse.Namespace) -> int:
    """`doctor`: exit code 0 if nothing that is needed failed."""
    failed = False
    for finding in _findings(options):
        show(str(finding))
        failed = failed or finding.state == "FAIL"
    return FAILED if failed else 0


def _findings(options: argparse.Namespace) -> Iterator[Finding]:
    yield check_disk(options.home)
    yield check_gpu()
    there = options.host or os.environ.get(HOST)
    yield check_store(options.bucket or (CLUSTER_BUCKET if there else local_store.BUCKET))
    yield check_images(images_of(options))
    if there:
        yield from check_kubeflow(options)
        yield check_cluster_gpus(options.gpu_type)
    else:
        yield Finding("skip", "kubeflow", f"not checked: give --host, or set {HOST}")


def check_disk(home: Path) -> Finding:
    """Room where runs are kept."""
    place = home.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 1e9
    state: State = "ok" if free >= WANTED_GB else "warn" if free >= NEEDED_GB else "FAIL"
    fix = (
        "" if state == "ok" else f"free some space, or keep runs elsewhere with --home; {WANTED_GB} GB are comfortable"
    )
    return Finding(state, "disk", f"{free:.1f} GB free in {place}", fix)


def check_gpu() -> Finding:
    """What torch would train on here."""
    try:
        import torch
    except ImportError:
        return Finding("warn", "torch", "not installed, so nothing can train here", "make setup")
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        return Finding("ok", "gpu", f"torch {torch.__version__} sees {names}")
    return Finding(
        "ok", "gpu", f"torch {torch.__version__} sees none; runs here train on {torch.get_num_threads()} CPU threads"
    )


def check_store(place: str) -> Finding:
    """Write, read and delete a probe in a bucket or under `bucket/prefix`, of the configured or an embedded store."""
    what = "the configured store" if store_is_configured() else "the embedded store"
    try:
        with (
            tempfile.TemporaryDirectory(prefix="moist-doctor-") as folder,
            local_store.store(Path(folder)) as environment,
        ):
            store = Store.of(environment)
            bucket, _, prefix = place.partition("/")
            if not prefix or not store_is_configured():  # who may write under a prefix only, may not ask for buckets
                store.ensure_bucket(bucket)
            probe, content = f"s3://{place.rstrip('/')}/doctor/{uuid.uuid4()}", uuid.uuid4().bytes
            store.put_bytes(probe, content)
            same = store.get_bytes(probe) == content
            store.delete(probe)
            gone = not store.list(probe)
    except MoistError as error:
        return Finding("FAIL", "store", f"{what}: {error}")
    if not (same and gone):
        problem = "gave back other bytes than were written" if not same else "kept an object that was deleted"
        return Finding(
            "FAIL", "store", f"{what} at {store.endpoint} {problem}", "check the store's own health and logs"
        )
    where = f" at {store.endpoint}" if store_is_configured() else ""
    return Finding("ok", "store", f"{what}{where}: wrote, read and deleted a probe in bucket {place}")


def check_images(images: Images) -> Finding:
    """Whether the container engine here, if there is one, has the images."""
    try:
        import docker
    except ImportError:
        return Finding("skip", "images", "not checked: docker's Python package is not installed")
    if not hasattr(docker, "from_env"):  # the repository's folder docker/, seen as a package
        return Finding("skip", "images", "not checked: docker's Python package is not installed")
    names = [images.of(kind) for kind in IMAGES]
    try:
        client = docker.from_env(timeout=10)
        try:
            found = client.api.images()
        finally:
            client.close()
    except (docker.errors.DockerException, OSError):
        return Finding("skip", "images", f"not checked, since no container engine answers here: {', '.join(names)}")
    known = {name for image in found for key in ("RepoTags", "RepoDigests") for name in image.get(key) or ()}
    missing = [name for name in names if name not in known]
    if missing:
        fix = "make images, or name others with --repository and --tag, or --slim-image and --train-image"
        return Finding("warn", "images", f"the container engine here has no {', no '.join(missing)}", fix)
    return Finding("ok", "images", ", ".join(names))


def check_kubeflow(options: argparse.Namespace) -> Iterator[Finding]:
    """Reach Kubeflow Pipelines, ask its version, and list what submitting needs."""
    try:
        cluster = connect(options.host, options.namespace, options.token_file, attempts=3)
    except MoistError as error:
        yield Finding("FAIL", "kubeflow", str(error))
        return
    users = f", with users; namespace {cluster.namespace}" if cluster.multi_user else ", without users"
    yield Finding("ok", "kubeflow", f"{cluster.host} answers{users}")
    yield _version(cluster)
    for what in ("experiments", "runs"):
        try:
            cluster.call(f"list_{what}", page_size=1, namespace=cluster.namespace)
        except MoistError as error:
            yield Finding("FAIL", what, f"cannot be listed: {error}")
        else:
            yield Finding("ok", what, "can be listed")


def _version(cluster: Cluster) -> Finding:
    if not cluster.version:
        return Finding("warn", "version", f"the server does not tell; {SUPPORTED}.x is what this is made for")
    if cluster.version.removeprefix("v").startswith(f"{SUPPORTED}."):
        return Finding("ok", "version", f"Kubeflow Pipelines {cluster.version}")
    detail = f"Kubeflow Pipelines {cluster.version}; this is made for, and tested with, {SUPPORTED}.x"
    return Finding("warn", "version", detail, f"upgrade the server to {SUPPORTED}.3, or expect differences")


def check_cluster_gpus(resource: str) -> Finding:
    """GPUs that the cluster's nodes offer, where kubectl's configuration reaches it."""
    import urllib3
    from kubernetes import client, config  # type: ignore[import-untyped]

    try:
        configuration = client.Configuration()
        config.load_kube_config(client_configuration=configuration)
        configuration.retries = False
        with client.ApiClient(configuration) as api:
            nodes = client.CoreV1Api(api).list_node(_request_timeout=(5, 15)).items
    except config.ConfigException:
        return Finding("skip", "gpus", "not checked: there is no kubectl configuration here")
    except (client.ApiException, urllib3.exceptions.HTTPError, OSError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        return Finding("skip", "gpus", f"not checked: the cluster's nodes cannot be listed ({reason})")
    offers = {node.metadata.name: int((node.status.allocatable or {}).get(resource, 0)) for node in nodes}
    if not any(offers.values()):
        fix = "install the GPU vendor's operator or device plugin, or submit with --gpus 0"
        return Finding("warn", "gpus", f"none of the cluster's {len(offers)} nodes offers {resource}", fix)
    offering = ", ".join(f"{count} on {name}" for name, count in sorted(offers.items()) if count)
    return Finding("ok", "gpus", f"{resource}: {offering}")
