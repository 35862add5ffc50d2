"""python benchmarks/serving.py: mixture against teacher as each runtime serves them, and what dispatch costs.

One process, everything warm, uint8 images in, batches of 1 and 64. Dispatch costs what the mixture takes longer than
its router and its first student on the whole batch, without choosing; in processor time, which other work on the
machine lengthens less than wall time. Single images are that student's own, for this: where the students take turns,
each finds less of its weights in the processor's caches, which the mixture's latency shows and which is no dispatch.

Latency does not depend on what weights are worth, so the networks of CIFAR-10's shape are not trained; the router's
last layer is scaled so that every student gets its share. With --dataset and --mixture (folders, for example from
`pipeline.py fetch`) the exported model's accuracy is compared with PyTorch's on the held-out images, too.
"""

import argparse
import copy
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from moist.data import dataset as image_data
from moist.data.batches import normalise
from moist.errors import InputError
from moist.models.cost import cost
from moist.models.mixture import Mixture
from moist.models.specification import MixtureSpec, NetworkSpec, build, router_spec
from moist.models.storage import load_model
from moist.models.student import CHANNELS, feature_shape
from moist.serving.agreement import check_runtime, reference
from moist.serving.choices import LOGITS, STUDENT
from moist.serving.runtimes import Images, installed_runtimes
from moist.serving.sparse_onnx import exported_network, sparse_model
from moist.training.precision import placed
from onnx import helper
from record import write
from torch import Tensor, nn

SHAPE, CLASSES, WIDTH = (32, 32, 3), 10, 256
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
BATCHES = (1, 64)
RUNTIMES = ("PyTorch", "ONNX Runtime", "OpenVINO")
MIXTURES = {"own convolutions": 0, "shared convolutions": 2}
"""Layers that the students share: none, beside a CNN router; or both convolutions, with a head as the router."""

ONE, ON_ITS_OWN = "router and one", "mixture on that one's images"

Serve = Callable[[Images], object]


class Whole(nn.Module):
    """uint8 images in, logits and the index of the largest out, as the mixture has logits and a student."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(normalise(images.permute(0, 3, 1, 2), MEAN, STD))
        return logits, logits.argmax(1)


class RouterAndOne(nn.Module):
    """What a mixture computes, less the choice: its router, and its first student on every image."""

    def __init__(self, mixture: Mixture, router: nn.Module) -> None:
        super().__init__()
        self.mixture, self.router = mixture, router

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.mixture.features(normalise(images.permute(0, 3, 1, 2), MEAN, STD))
        student = self.router(features).argmax(1)
        return self.mixture.students[0](features), student


class Timed(NamedTuple):
    """Milliseconds of each call: on the clock, and of the processor in all threads."""

    wall: list[float]
    processor: list[float]

    def summary(self) -> dict[str, float]:
        p95 = statistics.quantiles(self.wall, n=20, method="inclusive")[-1]
        processor = statistics.median(self.processor)
        return {
            "n": len(self.wall),
            "median_ms": statistics.median(self.wall),
            "p95_ms": p95,
            "processor_ms": processor,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--k", type=int, default=3, help="students of the mixture")
    parser.add_argument("--seconds", type=float, default=10, help="of timing for each runtime, batch and mixture")
    parser.add_argument("--rounds", type=int, default=80, help="of timing at least, at least 64")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dataset", type=Path, help="artifact, to compare accuracies on its held-out images")
    parser.add_argument("--mixture", type=Path, help="artifact, trained on --dataset")
    parser.add_argument("--write", action="store_true", help="keep the result")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results: dict[str, Any] = {"missing": [name for name in RUNTIMES[1:] if name not in installed_runtimes()]}
    for name in results["missing"]:
        print(f"{name} is not installed: skipped")
    torch.manual_seed(0)
    teacher = placed(
        build(NetworkSpec(architecture="resnet18", shape=SHAPE, outputs=CLASSES)), torch.device("cpu")
    ).eval()
    images = np.random.default_rng(0).integers(0, 256, (64 * 8, *SHAPE), np.uint8)
    results["latency"] = {
        name: latency(teacher, untrained(layers, options.k, images), images, options)
        for name, layers in MIXTURES.items()
    }
    # How many processes wanted a core at the same time, in the mean of the last minutes: 1 would be this one alone.
    results["load"] = os.getloadavg()[1]
    if options.dataset and options.mixture:
        results["agreement"] = agreement(options.dataset, options.mixture, options.threads)
    if options.write:
        settings = {key: value for key, value in vars(options).items() if key not in ("dataset", "mixture", "write")}
        print(write("serving", results, {**settings, "shape": SHAPE, "classes": CLASSES, "width": WIDTH}))


@torch.no_grad()
def untrained(shared_layers: int, k: int, images: Images) -> Mixture:
    """A mixture of the paper's students that sends each about as many of the images."""
    router = ("head", feature_shape(SHAPE, CHANNELS, shared_layers)) if shared_layers else ("cnn", SHAPE)
    spec = MixtureSpec(
        router=router_spec(*router, k, 256),
        student=NetworkSpec(architecture="student", shape=SHAPE, outputs=CLASSES, width=WIDTH),
        clusters=tuple(tuple(range(first, CLASSES, k)) for first in range(k)),
        shared_layers=shared_layers,
    )
    mixture = placed(build(spec), torch.device("cpu")).eval()
    if not isinstance(mixture, Mixture) or mixture.router is None:
        raise TypeError("build made no mixture with a router")
    pixels = normalise(torch.from_numpy(images.transpose(0, 3, 1, 2)), MEAN, STD)
    last = [module for module in mixture.router.modules() if isinstance(module, nn.Linear)][-1]
    routed = mixture.route(pixels)
    last.weight /= routed.std(0)[:, None]
    last.bias.copy_((last.bias - routed.mean(0)) / routed.std(0))
    return mixture


def latency(teacher: nn.Module, mixture: Mixture, images: Images, options: argparse.Namespace) -> dict[str, Any]:
    """Every runtime's timings of teacher, mixture, and router and one student; what the mixture's dispatch costs."""
    student = chosen(mixture, images)
    shares, own = torch.bincount(student, minlength=options.k) / len(images), images[(student == 0).numpy()]
    costs = {"teacher": cost(teacher, SHAPE).macs, "mixture": cost(mixture, SHAPE).macs}
    found: dict[str, Any] = {"shares": shares.tolist(), "mmac": {name: macs / 1e6 for name, macs in costs.items()}}
    print(f"shares of the students: {', '.join(f'{share:.0%}' for share in shares)}")
    with tempfile.TemporaryDirectory() as folder:
        for runtime, servers in loaded(teacher, mixture, Path(folder), options.threads):
            found[runtime] = {}
            for batch in BATCHES:
                times = timed(servers, batches(images, batch), batches(own if batch == 1 else images, batch), options)
                found[runtime][str(batch)] = summarised(times)
                report(runtime, batch, found[runtime][str(batch)])
    return found


@torch.inference_mode()
def chosen(mixture: Mixture, images: Images) -> Tensor:
    pixels = normalise(torch.from_numpy(images.transpose(0, 3, 1, 2)), MEAN, STD)
    return mixture.route(pixels).argmax(1)


def loaded(teacher: nn.Module, mixture: Mixture, folder: Path, threads: int) -> Iterable[tuple[str, dict[str, Serve]]]:
    """A runtime at a time: how it serves each of the models."""
    if mixture.router is None:
        raise TypeError("the mixture has no router")
    one = RouterAndOne(mixture, mixture.router).eval()
    yield "PyTorch", {"teacher": eager(Whole(teacher)), "mixture": eager(Whole(mixture)), ONE: eager(one)}
    sparse = sparse_model(mixture, SHAPE, MEAN, STD, {})
    models = {
        "teacher": exported_network(Whole(teacher), SHAPE, [LOGITS, STUDENT]),
        "mixture": sparse,
        ONE: exported_network(one, SHAPE, [LOGITS, STUDENT]),
        "mixture without branches": without_branches(sparse),
    }
    for name, model in models.items():
        onnx.save(model, folder / f"{name}.onnx")
    for runtime, load in installed_runtimes().items():
        # OpenVINO answers an unbranched model wrongly or not at all once a student has no image.
        names = [name for name in models if runtime == "ONNX Runtime" or name != "mixture without branches"]
        yield runtime, {name: load(folder / f"{name}.onnx", threads) for name in names}


def eager(network: nn.Module) -> Serve:
    """PyTorch as it serves: uint8 images in, arrays out."""

    @torch.inference_mode()
    def serve(images: Images) -> tuple[object, ...]:
        return tuple(output.numpy() for output in network.eval()(torch.from_numpy(images)))

    # What a mixture's forward gives has no student; the index of the largest logit costs the same.
    return serve


def without_branches(model: onnx.ModelProto) -> onnx.ModelProto:
    """The alternative: every student always runs, on an empty share too, so that no branch is needed."""
    flat = copy.deepcopy(model)
    nodes, weights = [], list(flat.graph.initializer)
    for node in flat.graph.node:
        if node.op_type != "If":
            nodes.append(node)
            continue
        runs = next(attribute.g for attribute in node.attribute if attribute.name == "then_branch")
        weights += runs.initializer
        nodes += [*runs.node, helper.make_node("Identity", [runs.output[0].name], [node.output[0]])]
    graph = helper.make_graph(nodes, "flat", flat.graph.input, flat.graph.output, weights)
    return helper.make_model(graph, opset_imports=flat.opset_import, ir_version=flat.ir_version)


def batches(images: Images, size: int) -> list[Images]:
    """At most 64 batches."""
    return [images[start : start + size] for start in range(0, min(64 * size, len(images) - size + 1), size)]


def timed(
    servers: Mapping[str, Serve], given: Sequence[Images], own: Sequence[Images], options: argparse.Namespace
) -> dict[str, Timed]:
    """Milliseconds of each model in turn; on its `own` images a mixture stands once more, beside router and student.

    Every model answers several batches before the next one does, as it would alone, else each would find the others'
    weights in the caches; the slow teacher has its turn every eighth time.
    """
    turns = {name: (serve, own if name == ONE else given) for name, serve in servers.items()}
    turns[ON_ITS_OWN] = (servers["mixture"], own)
    for serve, images in turns.values():
        for batch in images[:4]:
            serve(batch)
    times = {name: Timed([], []) for name in turns}
    end, number = time.perf_counter() + options.seconds, 0
    calls = max(1, 16 // len(given[0]))
    while number < options.rounds or time.perf_counter() < end:
        for name, (serve, images) in turns.items():
            if name == "teacher" and number % 8:
                continue
            serve(images[number % len(images)])
            for call in range(calls):
                batch = images[(number * calls + call) % len(images)]
                start, processor = time.perf_counter(), time.process_time()
                serve(batch)
                times[name].processor.append(1e3 * (time.process_time() - processor))
                times[name].wall.append(1e3 * (time.perf_counter() - start))
        number += 1
    return times


def summarised(times: Mapping[str, Timed]) -> dict[str, Any]:
    """Medians and 95th percentiles, and what dispatch costs."""
    found: dict[str, Any] = {name: each.summary() for name, each in times.items()}
    found["dispatch"] = ratio(times[ON_ITS_OWN], times[ONE])
    return found


def ratio(slow: Timed, fast: Timed, parts: int = 8) -> dict[str, Any]:
    """Ratio of the medians of processor time, and the same of each eighth of the calls."""

    def medians(values: list[float]) -> list[float]:
        return [
            statistics.median(values[len(values) * part // parts : len(values) * (part + 1) // parts])
            for part in range(parts)
        ]

    ratios = [a / b for a, b in zip(medians(slow.processor), medians(fast.processor), strict=True)]
    return {"ratio": statistics.median(slow.processor) / statistics.median(fast.processor), "parts": ratios}


def report(runtime: str, batch: int, found: Mapping[str, Any]) -> None:
    models = [
        f"{name} {each['median_ms']:.2f} (p95 {each['p95_ms']:.2f}, processor {each['processor_ms']:.2f})"
        for name, each in found.items()
        if "n" in each
    ]
    low, high = min(found["dispatch"]["parts"]), max(found["dispatch"]["parts"])
    print(
        f"{runtime}, batch {batch}, ms: {', '.join(models)}; teacher / mixture "
        f"{found['teacher']['median_ms'] / found['mixture']['median_ms']:.1f}x, "
        f"dispatch {found['dispatch']['ratio'] - 1:+.1%} (parts {low - 1:+.1%} to {high - 1:+.1%})",
        flush=True,
    )


def agreement(dataset: Path, mixture: Path, threads: int) -> dict[str, Any]:
    """How each runtime's answers compare with PyTorch's on the held-out images of a data set."""
    data, model = image_data.load(dataset), load_model(mixture, expect="mixture")
    if not isinstance(model, Mixture):
        raise InputError(f"{mixture} holds no mixture.")
    expected = reference(model, data, data.test.images, 64)
    found: dict[str, Any] = {"dataset": data.name, "split": data.split_note, "n": len(data.test)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mixture.onnx"
        onnx.save(sparse_model(model, data.shape, data.mean, data.std, {}), path)
        for name, load in installed_runtimes().items():
            found[name] = asdict(check_runtime(name, load(path, threads), expected, data, 64, 1e-4, 0.001))
            print(f"{name} on {data.name}: {found[name]}")
    return found


if __name__ == "__main__":
    main()
