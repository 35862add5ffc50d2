"""How a pipeline's tasks are placed on a cluster: processors, memory, GPUs, scratch space, retries."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from kfp import kubernetes
from kfp.dsl.pipeline_channel import PipelineParameterChannel
from pydantic import BaseModel, ConfigDict, Strict, TypeAdapter, ValidationError

from moist.errors import InputError
from moist.runtime.contract import CHECKPOINTS
from moist.runtime.processes import PROCESSES
from moist.runtime.store import ENDPOINT_VARIABLES, PATIENCE

STORE_SECRET = "mlpipeline-minio-artifact"
ENVIRONMENT = "moist-environment"
"""A namespace's ConfigMap of environment variables for tasks, by their own names (k8s/base has one)."""

FROM_NAMESPACE = (ENDPOINT_VARIABLES[0], "AWS_REGION", CHECKPOINTS, PATIENCE, PROCESSES)
TOLERATIONS = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
"""What lets a task onto nodes that are kept for GPU work, by default."""

QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
"""How Kubernetes writes processors and bytes (it also takes exponents)."""

RESOURCE = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
"""How Kubernetes names what a device plugin offers."""

SIZES = ("gpu_type", "gpu_count", "train_cpu", "train_memory", "node_selector", "tolerations")
"""The pipeline parameters that say what a training task asks for."""

RETRIES = 3
USER = 65532


@dataclass(frozen=True)
class Training:
    """What a training task asks for; each a pipeline parameter (text, as Kubeflow wants resources) or a constant."""

    gpu_type: Any
    gpu_count: Any
    cpu: Any
    memory: Any
    node_selector: Any
    tolerations: Any


class _Toleration(BaseModel):
    """Kubernetes' own."""

    model_config = ConfigDict(extra="forbid", strict=True)

    key: str = ""
    operator: Literal["Exists", "Equal"] = "Equal"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    tolerationSeconds: int | float | None = None  # noqa: N815 - Kubernetes' name; Kubeflow's numbers are doubles


SHAPES: dict[str, TypeAdapter[Any]] = {
    "node_selector": TypeAdapter(dict[Annotated[str, Strict()], Annotated[str, Strict()]]),
    "tolerations": TypeAdapter(list[_Toleration]),
}


def check_resources(arguments: Mapping[str, Any]) -> None:
    """Raises InputError for what Kubernetes would refuse, and Kubeflow notice when the first training task starts."""
    for name, shape in SHAPES.items():
        try:
            if name in arguments:
                shape.validate_python(arguments[name])
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise InputError(f"Setting {name} is not allowed ({place}: {first['msg']}).") from None
    kind = str(arguments.get("gpu_type", "nvidia.com/gpu"))
    if not RESOURCE.fullmatch(kind):
        raise InputError(f"Setting gpu_type={kind!r} is not allowed: give a resource, such as nvidia.com/gpu.")
    for name, example in (("train_cpu", "4 or 500m"), ("train_memory", "16G or 512Mi")):
        value = str(arguments.get(name, "1"))
        written = QUANTITY.fullmatch(value)
        if not written or float(written[1]) == 0:
            raise InputError(f"Setting {name}={value!r} is not allowed: give a Kubernetes quantity, such as {example}.")
    count = str(arguments.get("gpu_count", "0"))
    if not count.isdecimal():
        raise InputError(f"Setting gpu_count={count!r} is not allowed: give a whole number, 0 for none.")


def on_cpu(task: Any, name: str) -> Any:
    """A task that needs no GPU."""
    return _common(task, name, timeout_seconds=3600).set_cpu_limit("2").set_memory_limit("4G")


def on_gpu(task: Any, name: str, training: Training) -> Any:
    """A task that trains or measures networks: on GPUs where the count is not 0, else on the CPU."""
    _common(task, name, timeout_seconds=24 * 3600)
    task.set_cpu_limit(training.cpu).set_memory_limit(training.memory)
    task.set_accelerator_type(training.gpu_type).set_accelerator_limit(training.gpu_count)
    # kfp passes what sizes a task into a loop only if the task says that it takes it.
    sizes = (training.gpu_type, training.gpu_count, training.cpu, training.memory)
    task.register_pipeline_channels([size for size in sizes if isinstance(size, PipelineParameterChannel)])
    kubernetes.add_node_selector_json(task, training.node_selector)
    kubernetes.add_toleration_json(task, training.tolerations)
    kubernetes.empty_dir_mount(task, "dshm", "/dev/shm", medium="Memory", size_limit="2Gi")
    return task


def _common(task: Any, name: str, timeout_seconds: int) -> Any:
    task.set_display_name(name).set_caching_options(True)
    # A preempted or evicted pod is tried again; a stage that fails on its input fails fast each time.
    # The last one counts from the start of the first attempt, and is a retried pod's deadline, too.
    task.set_retry(RETRIES, "30s", 2.0, f"{(RETRIES + 1) * timeout_seconds + 3600}s")
    kubernetes.set_timeout(task, timeout_seconds)
    kubernetes.set_image_pull_policy(task, "IfNotPresent")
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    # The images' root filesystem may be mounted read-only; this is where stages work.
    kubernetes.empty_dir_mount(task, "tmp", "/tmp", size_limit="20Gi")
    kubernetes.use_secret_as_env(
        task,
        STORE_SECRET,
        {"accesskey": "AWS_ACCESS_KEY_ID", "secretkey": "AWS_SECRET_ACCESS_KEY"},
        optional=True,
    )
    # Not pipeline parameters: no variable can depend on one (kubeflow/pipelines#10111), and where the store is, and
    # which part of it the keys open, belongs to the namespace, not to the run. Without the ConfigMap nothing is set.
    kubernetes.use_config_map_as_env(task, ENVIRONMENT, {name: name for name in FROM_NAMESPACE}, optional=True)
    return task
