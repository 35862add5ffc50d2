"""What Kubeflow sees of a stage: a container component generated from its declaration, so that it cannot drift."""

import copy
import inspect
import re
from dataclasses import dataclass
from typing import Any, Literal, Optional, get_args, get_origin

from kfp import dsl

import moist
from moist.runtime.stage import Stage

IMAGES = {"slim": "moist-slim", "train": "moist-train"}


def container_component(stage: Stage) -> Any:
    """Make the `dsl.container_component` of a stage.

    Its inputs and parameters are the stage's ports and settings with their defaults; its one argument is the executor
    input, which carries them all, so a setting never needs a hand-written flag.
    """

    def function(*_: Any) -> dsl.ContainerSpec:
        return dsl.ContainerSpec(
            image=IMAGES[stage.image],
            command=["python3", "-m", stage.module],
            args=["--executor-input", dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER],
        )

    parameters = []
    for name, port in stage.inputs.items():
        artifact: Any = getattr(dsl, port.type)
        annotation: Any = dsl.Input[list[artifact]] if port.many else dsl.Input[artifact]
        if port.optional:
            parameters.append(_parameter(name, Optional[annotation], None))  # noqa: UP045 - kfp reads only this form
        else:
            parameters.append(_parameter(name, annotation))
    for name, port in stage.outputs.items():
        parameters.append(_parameter(name, dsl.Output[getattr(dsl, port.type)]))
    for name, info in stage.settings.model_fields.items():
        parameters.append(_parameter(name, _kfp_type(info.annotation), info.default))
    # A parameter without a default may not follow one with; kfp passes by name, so the order is free.
    parameters.sort(key=lambda parameter: parameter.default is not inspect.Parameter.empty)
    function.__name__ = stage.name
    function.__doc__ = _docstring(stage)
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return dsl.container_component(function)


def named(component: Any, name: str) -> Any:
    """The same component under another task name, for a stage that a pipeline uses more than once."""
    again = copy.copy(component)
    again.component_spec = copy.deepcopy(component.component_spec)
    again.component_spec.name = name
    return again


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation, default=default)


def _kfp_type(annotation: Any) -> type:
    if get_origin(annotation) is Literal:
        return type(get_args(annotation)[0])
    if annotation in (str, int, float, bool):
        return annotation  # type: ignore[no-any-return]
    raise TypeError(f"A setting of type {annotation} has no Kubeflow parameter type; use str, int, float or bool.")


def _docstring(stage: Stage) -> str:
    described = {name: port.description for name, port in stage.inputs.items()}
    described |= {name: info.description or "" for name, info in stage.settings.model_fields.items()}
    arguments = "\n".join(f"    {name}: {text}" for name, text in described.items())
    returns = "\n".join(f"    {name}: {port.description}" for name, port in stage.outputs.items())
    return f"{stage.summary}\n\nArgs:\n{arguments}\n\nReturns:\n{returns}\n"


@dataclass(frozen=True)
class Images:
    """Where a pipeline's images are: `<repository>/moist-slim:<tag>` and `<repository>/moist-train:<tag>`.

    A digest cannot be the same for both, so digests are given in full for each, as `slim` and `train`.
    """

    repository: str = "localhost"
    tag: str = moist.__version__
    slim: str = ""
    train: str = ""

    def of(self, kind: str) -> str:
        """The full reference of the slim or the training image."""
        prefix = f"{self.repository.rstrip('/')}/" if self.repository else ""
        return self.given(kind) or f"{prefix}{IMAGES[kind]}:{self.tag}"

    def given(self, kind: str) -> str:
        """The one that is given in full, or nothing."""
        return {"slim": self.slim, "train": self.train}[kind]

    def use_in(self, pipeline: Any) -> Any:
        """Point every task of a pipeline at these images."""
        for executor in pipeline.pipeline_spec.deployment_spec["executors"].values():
            for kind, name in IMAGES.items():
                if executor["container"]["image"] == name:
                    executor["container"]["image"] = self.of(kind)
        return pipeline


def moved_image(image: str, repository: str | None, tag: str | None) -> str:
    """An image in another repository, with another tag instead of its tag or digest, or both."""
    path, slash, last = image.rpartition("/")
    name, mark, version = re.fullmatch("([^:@]*)([:@]?)(.*)", last).groups()  # type: ignore[union-attr]
    prefix = f"{repository.rstrip('/')}/" if repository else path + slash
    return f"{prefix}{name}:{tag}" if tag else f"{prefix}{name}{mark}{version}"
