"""A mixture as one ONNX model with sparse dispatch: each image runs the router and only the student it chooses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from moist.data.batches import normalise
from moist.errors import InputError, MoistError
from moist.models.mixture import Mixture
from moist.models.routers import ClassRouter, Router
from moist.serving.choices import (
    IMAGES,
    LAST,
    LOGITS,
    ROUTER_ANSWERS,
    ROUTER_LOGITS,
    SENT_TO,
    STUDENT,
    both_choices,
    first_choices,
    merged_answers,
    no_answers,
    unsure_choices,
    used,
    which_are_used,
    with_own_answer,
)

OPSET = 20
IR_VERSION = 10
"""Of ONNX 1.16; newer ones would lock out runtimes that can do all that the model needs."""


def sparse_model(
    mixture: Mixture,
    shape: tuple[int, int, int],
    mean: Sequence[float],
    std: Sequence[float],
    metadata: Mapping[str, str],
) -> onnx.ModelProto:
    """The mixture as ONNX; the same mixture and metadata give the same bytes.

    Takes `images`, uint8 (B, height, width, channels), 0-255, of any B >= 1: the model normalises them with `mean` and
    `std` itself. Gives `logits`, float32 (B, classes); `student`, int64 (B,), which student each image was sent to, -1
    where a router that answers itself was sure; and `router_logits`, float32 (B, students). `shape` is height, width,
    channels.

    Raises:
        InputError: the mixture has no router.
        MoistError: the students cannot be told apart in what PyTorch exported.
    """
    if mixture.router is None:
        raise InputError(
            "A mixture that routes by the label (routing=oracle) is an upper bound and cannot serve images whose label "
            "nobody knows; export one that has a router."
        )
    names = [f"student_{student}_logits" for student in range(len(mixture.students))]
    firsts = [ROUTER_LOGITS, ROUTER_ANSWERS] if mixture.router_answers else [ROUTER_LOGITS]
    dense = exported_network(_Dense(mixture, mixture.router, mean, std), shape, [*firsts, *names])
    model = _dispatched(dense, names, len(mixture.student_of_class), mixture)
    model.producer_name = "moist"
    for name, text in metadata.items():
        model.metadata_props.add(key=name, value=text)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise MoistError(f"The exported model is not valid ONNX; this is an error in the export: {error}") from error
    return model


class _Dense(nn.Module):
    """Router, its own answer if it has one, and every student on every image, each an output of its own."""

    mean: Tensor
    std: Tensor

    def __init__(self, mixture: Mixture, router: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.mixture = mixture
        self.router = router
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        pixels = normalise(images.permute(0, 3, 1, 2), self.mean, self.std)
        features = self.mixture.features(pixels)
        if self.mixture.router_answers and isinstance(self.router, ClassRouter):
            named = self.router.student(features)
            firsts = [self.router.of_classes(named), named]
        else:
            firsts = [self.router(features)]
        return *firsts, *(self.mixture.opinions(features, student) for student in self.mixture.students)


def exported_network(network: nn.Module, shape: tuple[int, int, int], outputs: list[str]) -> onnx.ModelProto:
    """What PyTorch's exporter makes of a network, less the traces that it leaves of this machine.

    The network takes uint8 (B, height, width, channels) of `shape` and gives the named outputs.
    """
    # Two images: the exporter would take one for a constant.
    example = torch.zeros(2, *shape, dtype=torch.uint8)
    fused = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)  # ONNX has no such operator
        program = torch.onnx.export(
            network.eval(),
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=[IMAGES],
            output_names=outputs,
            opset_version=OPSET,
            verbose=False,
        )
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    if program is None:
        raise MoistError("PyTorch exported nothing; this is an error in the export.")
    model = program.model_proto
    graph = model.graph
    for described in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del described.metadata_props[:]
    return model


def _dispatched(dense: onnx.ModelProto, students: list[str], classes: int, mixture: Mixture) -> onnx.ModelProto:
    """The dense model with what only one student needs moved into a branch that runs on the images sent to it.

    Whatever router and students share, normalising and a shared trunk, runs once for the whole batch.
    """
    graph = dense.graph
    nodes = list(graph.node)
    needed = {output.name: _ancestors(nodes, output.name) for output in graph.output}
    own = {
        name: needed[name].difference(*(indices for other, indices in needed.items() if other != name))
        for name in students
    }
    branch_of = {index: name for name in students for index in own[name]}
    common = [node for index, node in enumerate(nodes) if index not in branch_of]
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    uses = _users(nodes, branch_of)
    with_second = mixture.second_below > 0 and len(students) > 1 and not mixture.router_answers
    asked = mixture.opinion_count if mixture.router_answers else 0
    branches = _Branches(_float_batches(dense, common), set(initializers), classes, with_second, asked)

    main = [*common, helper.make_node("Constant", [], [LAST], value_int=-1)]
    if mixture.router_answers:
        main += unsure_choices(mixture.second_below)
    elif with_second and isinstance(mixture.router, Router):
        main += both_choices(float(mixture.router.temperature), mixture.second_below)
    else:
        main += first_choices()
    main += which_are_used(len(students), 2 if with_second else 1)
    if mixture.router_answers:
        main.append(helper.make_node("Identity", [ROUTER_ANSWERS], [branches.answers(0)]))
    else:
        main += no_answers(len(students), classes, branches.answers(0))
    for number, name in enumerate(students):
        weights = [tensor for key, tensor in initializers.items() if uses[key] == {name}]
        main.append(branches.branch(number, name, [nodes[index] for index in sorted(own[name])], weights))
    answers = branches.answers(len(students))
    main += merged_answers(answers) if with_second else [helper.make_node("Identity", [answers], [LOGITS])]
    shared = [tensor for key, tensor in initializers.items() if None in uses[key] or len(uses[key]) > 1]
    router_logits = next(output for output in graph.output if output.name == ROUTER_LOGITS)
    outputs = [
        helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["batch", classes]),
        helper.make_tensor_value_info(STUDENT, TensorProto.INT64, ["batch"]),
        router_logits,
    ]
    return helper.make_model(
        helper.make_graph(main, "mixture", list(graph.input), outputs, shared),
        opset_imports=dense.opset_import,
        ir_version=IR_VERSION,
    )


@dataclass(frozen=True)
class _Branches:
    """What the students' branches have in common.

    `batched` and `initializers` are the values outside of them that they may use. `asked` is how many logits,
    beside those of a router which answers itself, each of them gives the sum of; 0 for other routers.
    """

    batched: set[str]
    initializers: set[str]
    classes: int
    with_second: bool
    asked: int

    def answers(self, number: int) -> str:
        """The value that holds the logits of the students before this one."""
        return f"answers_before_{number}"

    def branch(
        self, number: int, output: str, body: list[onnx.NodeProto], weights: list[onnx.TensorProto]
    ) -> onnx.NodeProto:
        """The node that puts one student's logits where its images are, and skips the student if it has none."""
        which, mask, before = f"number_{number}", f"is_sent_to_{number}", self.answers(number)
        made = {name for node in body for name in node.output}
        crossing = sorted({name for node in body for name in node.input if name} - made - self.initializers)
        if not set(crossing) <= self.batched:
            raise MoistError(
                f"Student {number} shares {', '.join(sorted(set(crossing) - self.batched))} with other parts of the "
                "mixture, which has no row for each image; this is an error in the export."
            )
        columns, rows, images = f"columns_{number}", f"rows_{number}", f"images_{number}"
        inner = [
            helper.make_node("Constant", [], [which], value_int=number),
            helper.make_node("Equal", [SENT_TO, which], [mask]),
            helper.make_node("NonZero", [mask], [columns]),
            helper.make_node("Transpose", [columns], [rows], perm=[1, 0]),
            helper.make_node("Gather", [columns, LAST], [images], axis=0),
        ]
        share = {name: f"{name}_of_{number}" for name in crossing}
        inner += [helper.make_node("Gather", [name, images], [part], axis=0) for name, part in share.items()]
        for node in body:
            moved = onnx.NodeProto()
            moved.CopyFrom(node)
            moved.input[:] = [share.get(name, name) for name in node.input]
            inner.append(moved)
        done, skipped = f"answers_with_{number}", f"answers_without_{number}"
        if self.asked:
            own = f"{ROUTER_ANSWERS}_of_{number}"
            inner.append(helper.make_node("Gather", [ROUTER_ANSWERS, images], [own], axis=0))
            both, output = with_own_answer(output, own, number, self.asked)
            inner += both
        inner.append(helper.make_node("ScatterND", [before, rows, output], [done]))
        shape = [2, "batch", self.classes] if self.with_second else ["batch", self.classes]
        info = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in (done, skipped)}
        runs = helper.make_graph(inner, f"student_{number}", [], [info[done]], weights)
        rests = helper.make_graph(
            [helper.make_node("Identity", [before], [skipped])], f"without_student_{number}", [], [info[skipped]]
        )
        return helper.make_node("If", [used(number)], [self.answers(number + 1)], then_branch=runs, else_branch=rests)


def _ancestors(nodes: list[onnx.NodeProto], output: str) -> set[int]:
    """Indices of the nodes that a value needs."""
    maker = {name: index for index, node in enumerate(nodes) for name in node.output}
    found: set[int] = set()
    wanted = [output]
    while wanted:
        index = maker.get(wanted.pop())
        if index is not None and index not in found:
            found.add(index)
            wanted += nodes[index].input
    return found


def _users(nodes: list[onnx.NodeProto], branch_of: Mapping[int, str]) -> dict[str, set[str | None]]:
    """The branches (None: the common part) in which each value is used."""
    users: dict[str, set[str | None]] = {}
    for index, node in enumerate(nodes):
        for name in node.input:
            users.setdefault(name, set()).add(branch_of.get(index))
    return users


def _float_batches(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> set[str]:
    """What `nodes` make that is float and has one row an image: of these, a student can be given its share."""
    made = {name for node in nodes for name in node.output}
    return {
        info.name
        for info in onnx.shape_inference.infer_shapes(model).graph.value_info
        if info.name in made
        and info.type.tensor_type.elem_type == TensorProto.FLOAT
        and info.type.tensor_type.shape.dim
        and info.type.tensor_type.shape.dim[0].dim_param == "batch"
    }
