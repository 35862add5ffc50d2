"""Runtimes that serve an exported mixture: ONNX Runtime, and OpenVINO where it is installed."""

import os
from collections.abc import Callable
from importlib import util
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from moist.errors import MoistError
from moist.serving.choices import IMAGES, LOGITS, STUDENT

Images = npt.NDArray[np.uint8]


class Served(NamedTuple):
    """What a mixture answers: logits float32 (B, classes), and the student that each image went to, int64 (B,)."""

    logits: npt.NDArray[np.float32]
    student: npt.NDArray[np.int64]


Server = Callable[[Images], Served]


def installed_runtimes() -> dict[str, Callable[[Path, int], Server]]:
    """The runtimes that are installed here: how to load a model with each, given its threads (0: all cores)."""
    return {
        name: load
        for name, (package, load) in {
            "ONNX Runtime": ("onnxruntime", onnx_runtime),
            "OpenVINO": ("openvino", openvino),
        }.items()
        if util.find_spec(package)
    }


def onnx_runtime(path: Path, threads: int = 0) -> Server:
    """Load a model for ONNX Runtime on the CPU.

    The server takes images uint8 (B, height, width, channels), 0-255.

    Raises:
        MoistError: here or when images are given, ONNX Runtime cannot run the model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only: it also raises them
    # Its threads would spin while they wait, and starve whatever else runs on the same cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = _tried(
        "ONNX Runtime", path, lambda: onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    )

    def serve(images: Images) -> Served:
        return Served(*_tried("ONNX Runtime", path, lambda: session.run([LOGITS, STUDENT], {IMAGES: images})))

    return serve


def openvino(path: Path, threads: int = 0) -> Server:
    """Load a model for OpenVINO on the CPU, in float32 also where the processor has bf16.

    The server takes images uint8 (B, height, width, channels), 0-255.

    Raises:
        MoistError: here or when images are given, OpenVINO cannot run the model.
    """
    # OpenVINO offers to report its use; this keeps it quiet in every environment.
    os.environ.setdefault("OPENVINO_TELEMETRY_OPT_OUT", "1")
    import openvino as ov

    core = ov.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
    }
    compiled = _tried("OpenVINO", path, lambda: core.compile_model(core.read_model(path), "CPU", settings))
    request = compiled.create_infer_request()

    def serve(images: Images) -> Served:
        answers = _tried("OpenVINO", path, lambda: request.infer({IMAGES: images}, share_inputs=True))
        return Served(answers[LOGITS].copy(), answers[STUDENT].copy())

    return serve


def _tried(runtime: str, path: Path, action: Callable[[], Any]) -> Any:
    try:
        return action()
    except Exception as error:  # each runtime has exceptions of its own
        reason = " ".join(str(error).split())
        raise MoistError(f"{runtime} cannot run {path.name}: {reason[:400]}") from error
