"""Specifications: JSON-serialisable descriptions of networks and mixtures, from which they are built."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from moist.errors import InputError
from moist.frozen import Frozen
from moist.models.mixture import Mixture, check_clusters
from moist.models.routers import ClassRouter, CnnRouter, HeadRouter, LinearRouter, TransformerRouter
from moist.models.student import CHANNELS, Student, feature_shape, split
from moist.models.teacher import SmallResNet, resnet18

MAX_PARAMETERS = 2**28
"""The most parameters a specification may ask for: 1 GiB of float32, six times the largest network of the paper."""

Role = Literal["teacher", "student", "router"]
Side = Annotated[int, Field(ge=1, le=256)]
Classes = Annotated[int, Field(ge=0, lt=1000)]
Channels = Annotated[int, Field(ge=1, le=1024)]
Units = Annotated[int, Field(ge=1, le=16384)]


@dataclass(frozen=True)
class Architecture:
    """A network that can be built by name: what it is for, how it is made, which options it takes."""

    role: Role
    make: Callable[..., nn.Module]
    options: tuple[str, ...] = ()


ARCHITECTURES: dict[str, Architecture] = {
    "resnet18": Architecture("teacher", resnet18),
    "small_resnet": Architecture("teacher", SmallResNet),
    "student": Architecture("student", Student, ("width", "channels")),
    "class_router": Architecture("router", ClassRouter, ("classes", "width", "channels")),
    "cnn_router": Architecture("router", CnnRouter),
    "head_router": Architecture("router", HeadRouter),
    "linear_router": Architecture("router", LinearRouter, ("hidden",)),
    "transformer_router": Architecture("router", TransformerRouter),
}


class NetworkSpec(Frozen):
    """One network. An option left out (None) has the architecture's own default.

    Raises:
        InputError: the architecture is unknown, does not take an option that is given, or would be too large.
    """

    architecture: str = Field(max_length=40, description="one of ARCHITECTURES")
    shape: tuple[Side, Side, Channels] = Field(
        description="height, width, channels of the image, or of the features that a router takes from a shared trunk"
    )
    outputs: int = Field(ge=1, le=1000, description="classes of a teacher or student, students of a router")
    classes: int | None = Field(default=None, ge=1, le=1000, description="class_router: classes that it tells apart")
    width: Units | None = Field(default=None, description="student, class_router: units of the hidden layer")
    channels: tuple[Channels, Channels] | None = Field(
        default=None, description="student, class_router: channels of both convolutions"
    )
    hidden: tuple[Units, Units] | None = Field(default=None, description="linear_router: units of both hidden layers")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.architecture not in ARCHITECTURES:
            raise InputError(f"unknown architecture '{self.architecture}': use one of {', '.join(ARCHITECTURES)}")
        allowed = ARCHITECTURES[self.architecture].options
        for option in self.options:
            if option not in allowed:
                takes = f"only {' and '.join(allowed)}" if allowed else "no options"
                raise InputError(f"{self.architecture} has no option '{option}': it takes {takes}")
        return self

    @property
    def role(self) -> Role:
        """What the network is for."""
        return ARCHITECTURES[self.architecture].role

    @property
    def options(self) -> dict[str, int | tuple[int, int]]:
        """The options that are given."""
        given = {name: getattr(self, name) for name in ("classes", "width", "channels", "hidden")}
        return {name: value for name, value in given.items() if value is not None}


def router_spec(
    name: str, shape: tuple[int, int, int], students: int, hidden: int, classes: int = 10, channels: int = 32
) -> NetworkSpec:
    """The router `class`, `cnn`, `head`, `linear` or `transformer`.

    `linear` has `hidden` units, and half as many next. `class` tells `classes` apart, with `hidden` units behind
    convolutions of half as many as `channels`, and `channels`. `shape` is that of the images, or of the features for a
    mixture whose students share layers.
    """
    options: dict[str, Any] = {}
    if name == "linear":
        options = {"hidden": (hidden, max(1, hidden // 2))}
    elif name == "class":
        options = {"classes": classes, "width": hidden, "channels": (max(1, channels // 2), channels)}
    return NetworkSpec(architecture=f"{name}_router", shape=shape, outputs=students, **options)


class MixtureSpec(Frozen):
    """A mixture: its router (None: the label chooses), its students, all alike, and the classes of each.

    With `shared_layers`, all students share their first convolutions, and the router takes what comes out of them.

    Raises:
        InputError: the parts do not fit each other, or the clusters are not a partition of the classes.
    """

    router: NetworkSpec | None
    student: NetworkSpec
    clusters: tuple[tuple[Classes, ...], ...] = Field(max_length=1000, description="class indices of each student")
    shared_layers: int = Field(default=0, ge=0, le=2, description="convolutions that all students share")
    second_below: float = Field(
        default=0.0, ge=0, le=1, description="the router's probability of its choice up to which a second student runs"
    )
    router_answers: bool = Field(
        default=False, description="the class router answers itself, and its student is the second to"
    )
    second_mirrored: bool = Field(
        default=False, description="for the second opinion both look at the mirrored image, too"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        classes = check_clusters(self.clusters)
        if self.student.outputs != classes:
            raise InputError(f"the clusters hold {classes} classes, but the student has {self.student.outputs} outputs")
        if self.router is not None:
            if self.router.role != "router":
                raise InputError(
                    f"'{self.router.architecture}' is a {self.router.role}: a mixture needs a router there"
                )
            if self.router.outputs != len(self.clusters):
                raise InputError(
                    f"a router of {self.router.outputs} outputs cannot choose among {len(self.clusters)} students"
                )
            if self.router.classes not in (None, classes):
                raise InputError(f"the router tells {self.router.classes} classes apart, the students {classes}")
            if self.router.shape != self.router_shape:
                raise InputError(f"the router takes images of {self.router.shape}, the student of {self.router_shape}")
        if self.router_answers and (self.router is None or self.router.classes is None or self.shared_layers):
            raise InputError("router_answers needs a class router, and students that share no layers")
        if self.second_mirrored and not (self.router_answers and len(self.clusters) == 1):
            raise InputError("second_mirrored needs router_answers, and a single student")
        return self

    @property
    def router_shape(self) -> tuple[int, int, int]:
        """Height, width, channels of what the router takes."""
        return feature_shape(self.student.shape, self.student.channels or CHANNELS, self.shared_layers)


def build(spec: NetworkSpec | MixtureSpec) -> nn.Module:
    """The network or `Mixture` that `spec` describes, freshly initialised from torch's global random state.

    Raises:
        InputError: it would have more than `MAX_PARAMETERS` parameters.
    """
    skeleton(spec)
    return _make(spec)


def skeleton(spec: NetworkSpec | MixtureSpec) -> nn.Module:
    """The same on the meta device: all shapes, no memory, no random number drawn.

    Raises:
        InputError: it would have more than `MAX_PARAMETERS` parameters.
    """
    parts = [(spec, 1)] if isinstance(spec, NetworkSpec) else [(spec.student, len(spec.clusters)), (spec.router, 1)]
    with torch.device("meta"):
        count = sum(
            copies * sum(parameter.numel() for parameter in _make(part).parameters())
            for part, copies in parts
            if part is not None
        )
        if count > MAX_PARAMETERS:
            raise InputError(f"the network would have {count:,} parameters: at most {MAX_PARAMETERS:,} are allowed")
        if isinstance(spec, NetworkSpec):
            return _make(spec)
        router, students = _parts(spec)
    # Outside the meta device, so that the class-to-student map, which is not stored, has its values.
    return mixture_of(router, students, spec)


def mixture_of(router: nn.Module | None, students: Sequence[nn.Module], spec: MixtureSpec) -> Mixture:
    """The mixture that `spec` describes of these parts; whole students, whose first one lends the shared layers."""
    if spec.shared_layers == 0:
        return Mixture(
            router,
            students,
            spec.clusters,
            second_below=spec.second_below,
            router_answers=spec.router_answers,
            second_mirrored=spec.second_mirrored,
        )
    parts = [split(student, spec.shared_layers) for student in students]
    return Mixture(router, [own for _, own in parts], spec.clusters, trunk=parts[0][0], second_below=spec.second_below)


def _make(spec: NetworkSpec | MixtureSpec) -> nn.Module:
    if isinstance(spec, MixtureSpec):
        return mixture_of(*_parts(spec), spec)
    return ARCHITECTURES[spec.architecture].make(spec.shape, spec.outputs, **spec.options)


def _parts(spec: MixtureSpec) -> tuple[nn.Module | None, list[nn.Module]]:
    router = None if spec.router is None else _make(spec.router)
    return router, [_make(spec.student) for _ in spec.clusters]
