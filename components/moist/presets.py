"""Named sets of pipeline arguments. What a preset does not name keeps the pipeline's default."""

from typing import Any

from moist.errors import InputError

Arguments = dict[str, Any]

# The best teacher on CIFAR-10 (docs/teacher.md), there with cutout, which other images were not tried with.
_RESNET18: Arguments = {
    "teacher": "resnet18",
    "teacher_epochs": 18,
    "teacher_optimizer": "muon",
    "teacher_learning_rate": 0.05,
    "teacher_weight_decay": 5e-4,
    "teacher_batch_size": 256,
}
_CUTOUT: Arguments = {"teacher_cutout": 8}
_CIFAR = ("cifar10", "cifar100")

# The best mixture found (docs/winning.md): the router is a student that answers itself; about the images of which it is
# least sure one that was distilled apart from it is asked, too, and both about the mirrored image.
_BEST: Arguments = {
    **_RESNET18,
    "learning_rate": 3e-3,
    "warmup_epochs": 0.5,
    "student_epochs": 92,
    "router_epochs": 92,
    "joint_epochs": 0,
    "oracle_epochs": 8,
    "views": 8,
    "fresh_views": True,
    "k": 1,
    "router_hidden": 256,
    "router_channels": 64,
    "router_answers": True,
    "second_share": 0.3,
    "second_mirrored": True,
}

# The paper's recipe: 20 epochs a stage, batch 64, AdamW 1e-3, temperature 5, weight 0.7, k = 3, hard routing, and its
# double softmax. Only the teacher's is another, and its schedule is annealed to its end, which the paper's was not.
_PAPER: Arguments = {
    **_RESNET18,
    "student_epochs": 20,
    "router_epochs": 20,
    "joint_epochs": 20,
    "oracle_epochs": 20,
    "views": 20,
    "k": 3,
    "routing": "hard",
    "router_loss": "double_softmax",
    "validation_fraction": 0.0,
}

# Small data take many epochs of few steps, large data few epochs of many steps.
PRESETS: dict[str, dict[str, Arguments]] = {
    "smoke": {
        "digits": {
            "train_limit": 400,
            "test_limit": 100,
            "teacher_epochs": 2,
            "student_epochs": 2,
            "router_epochs": 2,
            "joint_epochs": 2,
            "oracle_epochs": 2,
            "views": 2,
            "width": 32,
            "latency_seconds": 0.1,
        },
        "other": {
            "train_limit": 2000,
            "test_limit": 500,
            "teacher_epochs": 1,
            "student_epochs": 1,
            "router_epochs": 1,
            "joint_epochs": 1,
            "oracle_epochs": 1,
            "views": 1,
            "width": 32,
            "latency_seconds": 0.1,
        },
    },
    "quick": {
        "digits": {"teacher_epochs": 20, "student_epochs": 10, "router_epochs": 10, "joint_epochs": 10, "views": 16},
        "other": {
            "train_limit": 20_000,
            "teacher_epochs": 5,
            "student_epochs": 3,
            "router_epochs": 3,
            "joint_epochs": 3,
            "oracle_epochs": 3,
            "views": 4,
        },
    },
    "paper": {"other": _PAPER, **{name: {**_PAPER, **_CUTOUT} for name in _CIFAR}},
    # Training mirrors no digits, so a second opinion does not either.
    "best": {
        "other": _BEST,
        **{name: {**_BEST, **_CUTOUT} for name in _CIFAR},
        **{name: {**_BEST, "second_mirrored": False} for name in ("digits", "mnist")},
    },
}
ALL_ROUTERS = ("cnn", "transformer", "linear")
CLASS_ROUTER = "class"
"""A student, a narrow one by default, which learns from the teacher."""
HEAD_ROUTER = "head"
"""On the layers that the students share: trained with them, not before."""
ROUTERS = (*ALL_ROUTERS, CLASS_ROUTER)
"""Those that a run may ask for."""
_PRESET_ROUTERS = {"paper": ALL_ROUTERS, "best": (CLASS_ROUTER,)}
"""Those of the presets that have others than the first."""


def preset_arguments(preset: str, dataset: str) -> Arguments:
    """The arguments of a preset for a data set.

    Raises:
        InputError: for an unknown preset.
    """
    if preset not in PRESETS:
        raise InputError(f"Unknown preset {preset!r}; known are {', '.join(PRESETS)}.")
    variants = PRESETS[preset]
    return {"dataset": dataset, **variants.get(dataset, variants["other"])}


def chosen_routers(preset: str, router: str | None = None, shared_layers: int | None = None) -> tuple[str, ...]:
    """The routers that a pipeline trains: the one asked for, or the preset's, of which the first is the prototype's.

    Students that share layers have a router of their own. `router` and `shared_layers` are what was given besides the
    preset.

    Raises:
        InputError: another router is asked for beside shared layers.
    """
    if shared_layers and router:
        raise InputError(f"--router {router} is for students that share no layers: give --shared-layers 0 with it.")
    if shared_layers:
        return (HEAD_ROUTER,)
    if router:
        return (router,)
    return _PRESET_ROUTERS.get(preset, ALL_ROUTERS[:1])
