"""Where a run's artifacts came from, from the manifests beside them in the store, and what is stale or damaged."""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from moist.errors import InputError
from moist.reports.lineage import Given, Lineage, Taken, TaskLineage
from moist.runtime import provenance
from moist.runtime.artifacts import MANIFEST, FileRecord, InputRecord, Manifest, describe, digest_of
from moist.runtime.location import Location
from moist.runtime.runs import Artifacts
from moist.runtime.store import Store
from moist.runtime.task import cluster_task_name


@dataclass
class _Found:
    """An artifact in the store: its manifest, if that can be read, and what is wrong with it."""

    uri: str
    manifest: Manifest | None
    objects: dict[str, int]
    problems: list[str] = field(default_factory=list)


def trace(store: Store, root: str, title: str, also: Iterable[str] = (), thorough: bool = True) -> Lineage:
    """The lineage of every artifact under a URI, and of those at `also`, back through all their inputs.

    With `thorough` every byte is read and its digest compared; without, only what is there and its size.

    Raises:
        InputError: if there is no artifact at all.
    """
    found = _collect(store, root, also)
    if not any(artifact.manifest for artifact in found.values()):
        raise InputError(f"There is no artifact of moist under {root} in the store at {store.endpoint}.")
    for artifact in found.values():
        if artifact.manifest is not None:
            artifact.problems += _damage(store, artifact, artifact.manifest, thorough)
    tasks: dict[str, dict[str, _Found]] = {}
    for key, artifact in found.items():
        if artifact.manifest is not None:
            tasks.setdefault(_parent(key), {})[key] = artifact
    order = _producers_first({folder: _needs(outputs) & tasks.keys() for folder, outputs in tasks.items()})
    lines: list[TaskLineage] = []
    for folder in order:
        single = _single_files(store, folder, root, tasks[folder])
        lines.append(_line(tasks[folder], single, found, {name: order.index(name) for name in order}, lines))
    known = {_key(given.uri) for line in lines for given in line.gives}
    lost = [f"{artifact.uri}: {_loss(artifact)}" for key, artifact in found.items() if key not in known]
    return Lineage(title=title, root=root, code_version=provenance.code_version(), tasks=lines, lost=lost)


def _loss(artifact: _Found) -> str:
    if not artifact.objects:
        return "missing: it is not in the store"
    return "; ".join(artifact.problems) or f"damaged: it has no {MANIFEST}, and nothing beside it tells of it"


def artifacts_under(store: Store, root: str) -> Artifacts:
    """The artifacts that lie under a run's URI and those that their tasks took, by task and output; the newest of each.

    Kubeflow serves an unchanged task from an earlier run, whose artifacts lie elsewhere: those are known by their
    consumers.
    """
    own = Location.parse(root).uri()
    found = [(each, each.manifest) for each in _collect(store, root, ()).values() if each.manifest is not None]
    found.sort(key=lambda pair: (_key(pair[0].uri).startswith(own), pair[1].started))
    known: Artifacts = {}
    for each, manifest in found:
        outputs = known.setdefault(task_of(each.uri), {})
        outputs[each.uri.rsplit("/", 1)[-1]] = InputRecord(uri=each.uri, digest=manifest.digest)
        for name, digest in manifest.outputs.items():
            outputs.setdefault(name, InputRecord(uri=f"{_parent(each.uri)}/{name}", digest=digest))
    return known


def task_of(uri: str) -> str:
    """The task whose output lies at a URI: `.../<task>/<output>`, on a cluster `.../<task>/<uuid>/<output>`."""
    return cluster_task_name(uri) or uri.split("/")[-2]


def _parent(uri: str) -> str:
    return uri.rsplit("/", 1)[0]


def _key(uri: str) -> str:
    """One name for an artifact: `minio://` and `s3://` are labels of the same store."""
    return Location.parse(uri).uri()


def _collect(store: Store, root: str, also: Iterable[str]) -> dict[str, _Found]:
    found: dict[str, _Found] = {}
    base = root.rstrip("/")
    inside: dict[str, dict[str, int]] = {}
    listed = store.list(base)
    folders = {name.removesuffix(f"/{MANIFEST}") for name in listed if name.endswith(f"/{MANIFEST}")}
    for name, size in listed.items():
        folder = next((parent for parent in _parents(name) if parent in folders), None)
        if folder is not None:
            inside.setdefault(f"{base}/{folder}", {})[name.removeprefix(f"{folder}/")] = size
    waiting = [*inside, *also]
    while waiting:
        uri = waiting.pop()
        if _key(uri) in found:
            continue
        objects = inside.get(uri) or store.list(uri)
        found[_key(uri)] = artifact = _Found(uri, None, objects)
        if MANIFEST not in objects:
            continue
        try:
            artifact.manifest = Manifest.model_validate_json(store.get_bytes(f"{uri}/{MANIFEST}"))
        except ValidationError:
            artifact.problems.append(f"damaged: its {MANIFEST} is not a manifest")
            continue
        waiting += [record.uri for _, record in _inputs(artifact.manifest) if record.uri.startswith(("s3:", "minio:"))]
    return found


def _parents(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _inputs(manifest: Manifest) -> list[tuple[str, InputRecord]]:
    return [
        (name, record)
        for name, given in manifest.inputs.items()
        for record in (given if isinstance(given, list) else [given])
    ]


def _damage(store: Store, artifact: _Found, manifest: Manifest, thorough: bool) -> list[str]:
    problems = []
    if digest_of(manifest.files) != manifest.digest:
        problems.append(f"damaged: its {MANIFEST} contradicts itself")
    for name, record in manifest.files.items():
        if name not in artifact.objects:
            problems.append(f"damaged: {name} is missing")
        elif artifact.objects[name] != record.bytes:
            problems.append(f"damaged: {name} has {artifact.objects[name]} bytes, {record.bytes} were written")
    problems += [
        f"damaged: {name} does not belong to it"
        for name in sorted(artifact.objects.keys() - manifest.files.keys() - {MANIFEST})
    ]
    if thorough and not problems:
        contents = _contents(store, artifact.uri)
        problems += [
            f"damaged: {name} is not what was written (SHA-256 differs)"
            for name, record in manifest.files.items()
            if contents.get(name) != record
        ]
    return problems


def _contents(store: Store, uri: str) -> dict[str, FileRecord]:
    with tempfile.TemporaryDirectory(prefix="moist-lineage-") as folder:
        path = Path(folder, "artifact")
        store.download(uri, path)
        return describe(path)


def _single_files(store: Store, folder: str, root: str, outputs: dict[str, _Found]) -> list[Given]:
    """The task's outputs that are one file without a manifest; their siblings name them and their digests.

    Of tasks outside the root only what was taken is of interest.
    """
    if not f"{folder}/".startswith(_key(root) + "/"):
        return []
    label, manifest = next((each.uri, each.manifest) for each in outputs.values() if each.manifest is not None)
    given = []
    for name, digest in manifest.outputs.items():
        if f"{folder}/{name}" in outputs:
            continue
        uri = f"{_parent(label)}/{name}"
        sizes, problems = store.list(uri), []
        if "" not in sizes:
            problems.append("missing: it is not in the store")
        elif digest_of(_contents(store, uri)) != digest:
            problems.append("damaged: it is not what was written (SHA-256 differs)")
        given.append(Given(name=name, kind="file", uri=uri, digest=digest, bytes=sizes.get("", 0), problems=problems))
    return given


def _needs(outputs: dict[str, _Found]) -> set[str]:
    return {
        _parent(_key(record.uri))
        for artifact in outputs.values()
        if artifact.manifest is not None
        for _, record in _inputs(artifact.manifest)
        if record.uri.startswith(("s3:", "minio:"))
    }


def _producers_first(needs: dict[str, set[str]]) -> list[str]:
    order: list[str] = []
    while len(order) < len(needs):
        ready = [folder for folder in needs if folder not in order and needs[folder] - {folder} <= set(order)]
        # A cycle cannot come from running tasks; of hostile manifests, take the rest as it comes.
        order += ready or [folder for folder in needs if folder not in order]
    return order


def _line(
    outputs: dict[str, _Found],
    single: list[Given],
    found: dict[str, _Found],
    places: dict[str, int],
    earlier: list[TaskLineage],
) -> TaskLineage:
    manifest = next(artifact.manifest for artifact in outputs.values() if artifact.manifest is not None)
    takes, problems = [], []
    for name, record in _inputs(manifest):
        key = _key(record.uri) if record.uri.startswith(("s3:", "minio:")) else record.uri
        source = found.get(key)
        producer = places.get(_parent(key)) if source is not None and source.manifest is not None else None
        takes.append(
            Taken(
                name=name,
                uri=record.uri,
                digest=record.digest,
                producer=producer,
                output=key.rsplit("/", 1)[-1],
            )
        )
        if source is None:
            continue  # a path on the machine where it ran
        if source.manifest is None:
            what = "damaged" if source.problems else "gone"
            problems.append(f"stale: its input {name} ({record.uri}) is {what}")
        elif source.manifest.digest != record.digest:
            problems.append(
                f"stale: its input {name} ({record.uri}) was {record.digest} when it ran and is now "
                f"{source.manifest.digest}"
            )
        elif source.problems:
            problems.append(f"stale: its input {name} ({record.uri}) is damaged")
        elif producer is not None and producer < len(earlier) and earlier[producer].problems:
            problems.append(f"stale: its input {name} comes from {earlier[producer].name}, which is stale")
    gives = [
        Given(
            name=uri.rsplit("/", 1)[-1],
            kind=artifact.manifest.kind,
            uri=artifact.uri,
            digest=artifact.manifest.digest,
            bytes=sum(record.bytes for record in artifact.manifest.files.values()),
            problems=artifact.problems,
        )
        for uri, artifact in outputs.items()
        if artifact.manifest is not None
    ]
    return TaskLineage(
        name=task_of(next(iter(outputs))),
        stage=manifest.stage,
        code_version=manifest.code_version,
        settings=manifest.settings,
        started=manifest.started,
        seconds=manifest.seconds,
        device=manifest.device,
        takes=takes,
        gives=sorted([*gives, *single], key=lambda given: given.name),
        problems=problems,
    )
