"""The MoIST paper's sweeps as a Kubeflow pipeline: number of students, width, router, and the linear router's size.

One teacher serves them all. For every seed one mixture stands in the middle, and each sweep changes one thing of it.
"""

from typing import Any

from kfp import dsl

from moist import presets
from moist.errors import InputError
from moist.runtime.kubeflow import Images, named
from moist.runtime.scheduling import TOLERATIONS, Training, on_cpu, on_gpu
from moist.stages.cluster_logits.component import cluster_logits
from moist.stages.compare_sweep.component import compare_sweep
from moist.stages.distill_student.component import distill_student
from moist.stages.evaluate.component import evaluate
from moist.stages.prepare_data.component import prepare_data
from moist.stages.pretrain_router.component import pretrain_router
from moist.stages.train_jointly.component import train_jointly
from moist.stages.train_teacher.component import train_teacher

DEFAULT_IMAGES = Images()
WIDTHS = [16, 32, 64, 128, 512, 1024, 2048, 4096, 8192]
"""Fig 3b's, 2^4 to 2^13, less the 256 of the mixture in the middle."""

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"seeds": [0], "other_k": [2], "other_widths": [16], "linear_sizes": [16, 64]},
    "quick": {"other_widths": [16, 64, 1024, 4096]},
    "paper": {},
}
"""Named sets of arguments: what they say beyond the MoIST pipeline's preset of the same name."""


def preset_arguments(preset: str, dataset: str) -> dict[str, Any]:
    """The arguments of a preset for a data set: how to train is as the MoIST pipeline's preset has it.

    Raises:
        InputError: for an unknown preset.
    """
    if preset not in PRESETS:
        raise InputError(f"The sweep pipeline has no preset {preset!r}; it has {', '.join(PRESETS)}.")
    same = {**presets.preset_arguments(preset, dataset), **PRESETS[preset]}
    return {name: value for name, value in same.items() if name != "oracle_epochs"}  # there is no upper bound here


def sweep_pipeline(images: Images = DEFAULT_IMAGES) -> Any:
    """The DAG: teacher, then for every seed a mixture, its controls, its neighbours in four directions, and a table."""

    @dsl.pipeline(name="sweep", description="MoIST's sweeps: students, width, router, and the linear router's size.")  # type: ignore[untyped-decorator]
    def sweep(
        dataset: str = "digits",
        source: str = "bundled",
        train_limit: int = 0,
        test_limit: int = 0,
        validation_fraction: float = 0.1,
        data_seed: int = 0,
        seeds: list[int] = [0, 1, 2],  # noqa: B006 - kfp reads defaults, it never changes them
        teacher: str = "small_resnet",
        teacher_epochs: int = 20,
        teacher_optimizer: str = "adamw",
        teacher_learning_rate: float = 3e-3,
        teacher_weight_decay: float = 0.05,
        teacher_batch_size: int = 128,
        teacher_reduced: float = 0.0,
        teacher_cutout: int = 0,
        teacher_label_smoothing: float = 0.0,
        views: int = 16,
        k: int = 3,
        width: int = 256,
        router: str = "cnn",
        other_k: list[int] = [2, 4, 5, 6],  # noqa: B006
        other_widths: list[int] = WIDTHS,
        other_routers: list[str] = ["transformer"],  # noqa: B006
        linear_sizes: list[int] = [64, 256, 1024],  # noqa: B006
        student_epochs: int = 10,
        router_epochs: int = 10,
        router_loss: str = "plain",
        joint_epochs: int = 10,
        routing: str = "soft",
        learning_rate: float = 1e-3,
        warmup_epochs: float = 0.0,
        temperature: float = 5.0,
        teacher_weight: float = 0.7,
        latency_seconds: float = 2.0,
        gpu_type: str = "nvidia.com/gpu",
        gpu_count: str = "1",
        train_cpu: str = "4",
        train_memory: str = "16G",
        node_selector: dict[str, str] = {},  # noqa: B006
        tolerations: list[dict[str, str]] = TOLERATIONS,
    ) -> None:
        training = Training(gpu_type, gpu_count, train_cpu, train_memory, node_selector, tolerations)

        data = prepare_data(
            name=dataset,
            source=source,
            seed=data_seed,
            train_limit=train_limit,
            test_limit=test_limit,
            validation_fraction=validation_fraction,
        )
        on_cpu(data, "Prepare data")
        images_of = {"dataset": data.outputs["dataset"]}
        taught = train_teacher(
            architecture=teacher,
            epochs=teacher_epochs,
            optimizer=teacher_optimizer,
            learning_rate=teacher_learning_rate,
            weight_decay=teacher_weight_decay,
            batch_size=teacher_batch_size,
            reduced=teacher_reduced,
            cutout=teacher_cutout,
            label_smoothing=teacher_label_smoothing,
            views=views,
            seed=data_seed,
            **images_of,
        )
        on_gpu(taught, "Train teacher", training)
        from_teacher = {**images_of, "logits": taught.outputs["logits"]}
        groups = cluster_logits(k=k, seed=data_seed, logits=taught.outputs["logits"])
        on_cpu(groups, "Cluster classes")

        with dsl.ParallelFor(items=seeds, name="seeds") as seed:
            # How students and routers learn; the teacher has a recipe of its own.
            optimizing = {"learning_rate": learning_rate, "warmup_epochs": warmup_epochs, "seed": seed}
            learning = {"temperature": temperature, "teacher_weight": teacher_weight, **optimizing}

            def distilled(name: str, of_width: Any, **control: Any) -> Any:
                task = named(distill_student, name)(
                    width=of_width,
                    epochs=student_epochs,
                    **learning,
                    **from_teacher,
                    **control,
                )
                on_gpu(task, name.replace("_", " ").capitalize(), training)
                return task.outputs["student"]

            def router_of(name: str, clusters: Any, architecture: Any, hidden: int | Any = 256) -> Any:
                task = named(pretrain_router, name)(
                    architecture=architecture,
                    hidden=hidden,
                    epochs=router_epochs,
                    loss=router_loss,
                    clusters=clusters,
                    **optimizing,
                    **images_of,
                )
                on_gpu(task, name.replace("_", " ").capitalize(), training)
                return task.outputs["router"]

            def mixture(name: str, clusters: Any, student: Any, chooser: Any) -> Any:
                task = named(train_jointly, name)(
                    routing=routing,
                    epochs=joint_epochs,
                    student=student,
                    router=chooser,
                    clusters=clusters,
                    **learning,
                    **from_teacher,
                )
                on_gpu(task, name.replace("_", " ").capitalize(), training)
                return task.outputs["mixture"]

            in_k = groups.outputs["clusters"]
            student = distilled("distill_student", width)
            chooser = router_of("pretrain_router", in_k, router)
            middle = mixture("train_jointly", in_k, student, chooser)
            controls = {
                name: distilled(
                    f"control_{name}",
                    width,
                    control=name,
                    router=router,
                    router_epochs=router_epochs,
                    joint_epochs=joint_epochs,
                    routing=routing,
                    clusters=in_k,
                )
                for name in ("same_budget", "same_cost")
            }

            with dsl.ParallelFor(items=other_k, name="students") as other:
                again = named(cluster_logits, "cluster_by_k")(k=other, seed=data_seed, logits=taught.outputs["logits"])
                on_cpu(again, "Cluster by k")
                found = again.outputs["clusters"]
                by_k = mixture("train_by_k", found, student, router_of("router_by_k", found, router))
            with dsl.ParallelFor(items=other_widths, name="widths") as other:
                students = distilled("distill_by_width", other)
                by_width = mixture("train_by_width", in_k, students, chooser)
            with dsl.ParallelFor(items=other_routers, name="routers") as other:
                by_router = mixture("train_by_router", in_k, student, router_of("router_by_kind", in_k, other))
            with dsl.ParallelFor(items=linear_sizes, name="sizes") as other:
                by_size = mixture("train_by_size", in_k, student, router_of("router_by_size", in_k, "linear", other))

            measured = evaluate(
                latency_seconds=latency_seconds,
                seed=seed,
                teacher=taught.outputs["teacher"],
                student=student,
                mixture=middle,
                clusters=in_k,
                students=dsl.Collected(students),
                by_k=dsl.Collected(by_k),
                by_width=dsl.Collected(by_width),
                by_router=dsl.Collected(by_router),
                by_size=dsl.Collected(by_size),
                **images_of,
                **controls,
            )
            on_gpu(measured, "Evaluate", training)

        compared = compare_sweep(results=dsl.Collected(measured.outputs["metrics"]))
        on_cpu(compared, "Compare with the paper")

    return images.use_in(sweep)
