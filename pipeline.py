"""MoIST as a Kubeflow pipeline, and its command line: `python pipeline.py run --help` and so on.

`moist_pipeline` wires the stages; each stage's folder under components/moist/stages/ says what it does.
"""

import sys
from typing import Any

from kfp import dsl
from moist.presets import ALL_ROUTERS, CLASS_ROUTER, HEAD_ROUTER
from moist.runtime.kubeflow import Images, named
from moist.runtime.scheduling import TOLERATIONS, Training, on_cpu, on_gpu
from moist.stages.cluster_logits.component import cluster_logits
from moist.stages.distill_student.component import distill_student
from moist.stages.evaluate.component import evaluate
from moist.stages.export.component import export
from moist.stages.prepare_data.component import prepare_data
from moist.stages.pretrain_router.component import pretrain_router
from moist.stages.train_jointly.component import train_jointly
from moist.stages.train_teacher.component import train_teacher

DEFAULT_IMAGES = Images()


def moist_pipeline(routers: tuple[str, ...] = ALL_ROUTERS[:1], images: Images = DEFAULT_IMAGES) -> Any:
    """The MoIST DAG: a teacher, a mixture with each router, the upper bound, the controls, and the evaluation."""

    @dsl.pipeline(name="moist", description="One expensive image classifier, turned into a routed set of cheap ones.")  # type: ignore[untyped-decorator]
    def moist(
        dataset: str = "digits",
        source: str = "bundled",
        train_limit: int = 0,
        test_limit: int = 0,
        validation_fraction: float = 0.1,
        seed: int = 0,
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
        k: int = 0,
        oracle_k: int = 4,
        width: int = 256,
        student_epochs: int = 10,
        router_epochs: int = 10,
        router_loss: str = "plain",
        router_hidden: int = 256,
        router_channels: int = 32,
        router_answers: bool = False,
        joint_epochs: int = 10,
        oracle_epochs: int = 10,
        routing: str = "soft",
        shared_layers: int = 0,
        mutual_weight: float = 0.0,
        second_share: float = 0.0,
        second_mirrored: bool = False,
        learning_rate: float = 1e-3,
        warmup_epochs: float = 0.0,
        temperature: float = 5.0,
        teacher_weight: float = 0.7,
        fresh_views: bool = False,
        latency_seconds: float = 2.0,
        gpu_type: str = "nvidia.com/gpu",
        gpu_count: str = "1",
        train_cpu: str = "4",
        train_memory: str = "16G",
        node_selector: dict[str, str] = {},  # noqa: B006 - kfp reads defaults, it never changes them
        tolerations: list[dict[str, str]] = TOLERATIONS,
    ) -> None:
        training = Training(gpu_type, gpu_count, train_cpu, train_memory, node_selector, tolerations)
        # How students and routers learn; the teacher has a recipe of its own.
        optimizing = {"learning_rate": learning_rate, "warmup_epochs": warmup_epochs, "seed": seed}
        learning = {
            "temperature": temperature,
            "teacher_weight": teacher_weight,
            "fresh_views": fresh_views,
            **optimizing,
        }

        data = prepare_data(
            name=dataset,
            source=source,
            seed=seed,
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
            seed=seed,
            **images_of,
        )
        on_gpu(taught, "Train teacher", training)
        from_teacher = {**images_of, "logits": taught.outputs["logits"]}

        groups = cluster_logits(k=k, seed=seed, logits=taught.outputs["logits"])
        on_cpu(groups, "Cluster classes")
        clusters = {"clusters": groups.outputs["clusters"]}

        student = distill_student(width=width, epochs=student_epochs, **learning, **from_teacher)
        on_gpu(student, "Distil student", training)
        start = {**from_teacher, "student": student.outputs["student"]}

        mixtures = {}
        for router in routers:
            suffix = "" if router == routers[0] else f"_{router}"
            given = {}
            if router != HEAD_ROUTER:  # a head on the students' shared layers has no training before theirs
                lessons = {**learning, **from_teacher} if router == CLASS_ROUTER else {**optimizing, **images_of}
                chooser = named(pretrain_router, f"pretrain_router{suffix}")(
                    architecture=router,
                    hidden=router_hidden,
                    channels=router_channels,
                    epochs=router_epochs,
                    loss=router_loss,
                    **lessons,
                    **clusters,
                )
                on_gpu(chooser, f"Pretrain router ({router})", training)
                given = {"router": chooser.outputs["router"]}
            mixture = named(train_jointly, f"train_jointly{suffix}")(
                routing=routing,
                epochs=joint_epochs,
                shared_layers=shared_layers,
                mutual_weight=mutual_weight,
                second_share=second_share,
                router_answers=router_answers,
                second_mirrored=second_mirrored,
                **given,
                **learning,
                **start,
                **clusters,
            )
            on_gpu(mixture, f"Train jointly ({router} router)", training)
            mixtures[f"mixture{suffix}"] = mixture.outputs["mixture"]

        # The first router's mixture, for serving: its check runs where runtimes do, on the CPU.
        served = export(mixture=mixtures["mixture"], **images_of)
        on_cpu(served, "Export to ONNX")

        # The conceptual 100% router knows the label: an upper bound, with a clustering of its own.
        oracle_groups = named(cluster_logits, "cluster_oracle")(k=oracle_k, seed=seed, logits=taught.outputs["logits"])
        on_cpu(oracle_groups, "Cluster classes (upper bound)")
        oracle = named(train_jointly, "train_oracle")(
            routing="oracle", epochs=oracle_epochs, clusters=oracle_groups.outputs["clusters"], **learning, **start
        )
        on_gpu(oracle, "Train with 100% router (upper bound)", training)

        # What a mixture must beat: one student with its training budget, and one that also costs as much to run.
        controls = {}
        for control in ("same_budget", "same_cost"):
            single = named(distill_student, f"control_{control}")(
                control=control,
                width=width,
                epochs=student_epochs,
                shared_layers=shared_layers,
                second_share=second_share,
                router_epochs=router_epochs,
                joint_epochs=joint_epochs,
                routing=routing,
                router_answers=router_answers,
                second_mirrored=second_mirrored,
                router_hidden=router_hidden,
                router_channels=router_channels,
                **({} if routers[0] == HEAD_ROUTER else {"router": routers[0]}),
                **learning,
                **from_teacher,
                **clusters,
            )
            on_gpu(single, f"Control: {control.replace('_', ' ')}", training)
            controls[control] = single.outputs["student"]

        measured = evaluate(
            latency_seconds=latency_seconds,
            seed=seed,
            teacher=taught.outputs["teacher"],
            student=student.outputs["student"],
            oracle=oracle.outputs["mixture"],
            **images_of,
            **clusters,
            **mixtures,
            **controls,
        )
        on_gpu(measured, "Evaluate", training)

    return images.use_in(moist)


if __name__ == "__main__":
    from moist.runtime.command_line import main

    sys.exit(main(moist_pipeline))
