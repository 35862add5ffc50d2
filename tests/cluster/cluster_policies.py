"""What manifests and the pods in them must keep to: functions that return one sentence for each breach."""

import re
from collections.abc import Iterator
from typing import Any

Manifest = dict[str, Any]

PIPELINE_PODS = {"matchLabels": {"pipelines.kubeflow.org/v2_component": "true"}}
HOST_NAMESPACES = ("hostNetwork", "hostPID", "hostIPC")
# Volumes that show a pod nothing of its node and hold no credentials by value.
ALLOWED_VOLUMES = {"emptyDir", "configMap", "secret", "persistentVolumeClaim", "projected", "downwardAPI"}
CREDENTIAL_NAME = re.compile(r"(secret|password|passwd|token|credential|access.?key|api.?key)", re.IGNORECASE)
MUTABLE_TAGS = {"latest", "main", "master", "stable"}


def pod_specs(manifest: Manifest) -> Iterator[Manifest]:
    """The pod specifications anywhere inside a manifest."""
    if isinstance(manifest.get("containers"), list):
        yield manifest
    for value in manifest.values():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict):
                yield from pod_specs(item)


def pod_breaches(spec: Manifest) -> Iterator[str]:
    """What a pod may not do, and what it must ask for."""
    for name in HOST_NAMESPACES:
        if spec.get(name):
            yield f"{name} is on"
    pod_context = spec.get("securityContext", {})
    for volume in spec.get("volumes", []):
        for kind in sorted(volume.keys() - {"name"} - ALLOWED_VOLUMES):
            yield f"volume {volume['name']} is a {kind}"
    if spec.get("automountServiceAccountToken") is not False:
        yield "a service account token is mounted"
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        for breach in container_breaches(container, pod_context):
            yield f"container {container['name']}: {breach}"


def container_breaches(container: Manifest, pod_context: Manifest) -> Iterator[str]:
    """The same for one container; the pod's security context counts where the container's is silent."""
    context = {**pod_context, **container.get("securityContext", {})}
    if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
        yield "may run as root"
    if context.get("privileged"):
        yield "is privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "may write to its root file system"
    if context.get("capabilities", {}).get("drop") != ["ALL"] or context["capabilities"].get("add"):
        yield "keeps capabilities"
    if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "has no RuntimeDefault seccomp profile"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "takes a port of the node"
    resources = container.get("resources", {})
    for kind in ("requests", "limits"):
        for resource in ("cpu", "memory", "ephemeral-storage"):
            if resource not in resources.get(kind, {}):
                yield f"has no {kind}.{resource}"
    yield from image_breaches(container["image"])
    for variable in container.get("env", []):
        if CREDENTIAL_NAME.search(variable["name"]) and "value" in variable:
            yield f"variable {variable['name']} holds its value in the manifest"


def image_breaches(image: str) -> Iterator[str]:
    """An image needs a digest or a tag that nobody moves."""
    name, _, digest = image.partition("@")
    if re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        return
    tag = name.rpartition("/")[2].partition(":")[2]
    if not tag or tag in MUTABLE_TAGS or not re.search(r"\d", tag):
        yield f"image {image} is not pinned"


def role_breaches(role: Manifest) -> Iterator[str]:
    """Least privilege: nothing by wildcard, no execution in pods, settings and secrets by name and read only."""
    for rule in role["rules"]:
        resources, verbs = rule["resources"], rule["verbs"]
        if "*" in [*resources, *verbs, *rule["apiGroups"]]:
            yield f"{resources} {verbs}: a wildcard"
        if any("/" in resource for resource in resources):
            yield f"{resources}: a subresource"
        if {"secrets", "configmaps"} & set(resources) and (verbs != ["get"] or not rule.get("resourceNames")):
            yield f"{resources} {verbs}: not by name and read only"
        if set(verbs) & {"delete", "deletecollection", "escalate", "bind", "impersonate", "update"}:
            yield f"{resources} {verbs}: more than a pipeline pod needs"


def secret_breaches(manifest: Manifest) -> Iterator[str]:
    """No manifest carries a secret: neither a Secret with content nor an odd value under a telling name."""
    if manifest["kind"] == "Secret":
        yield "is a Secret"
    if manifest["kind"] == "ConfigMap":
        for key, text in manifest.get("data", {}).items():
            for line in text.splitlines():
                name, _, value = line.strip().partition(": ")
                # Names of secrets and of keys inside them are references.
                if (
                    CREDENTIAL_NAME.search(name)
                    and value
                    and name not in ("secretName", "accessKeyKey", "secretKeyKey")
                ):
                    yield f"data.{key} holds {name}"
