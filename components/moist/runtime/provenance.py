"""Where an artifact came from: code version, library versions, device."""

import functools
import hashlib
import platform
from importlib import metadata
from pathlib import Path

import moist
from moist.runtime import cores

LIBRARIES = (
    *("torch", "torchvision", "numpy", "scikit-learn", "fvcore", "safetensors"),
    *("onnx", "onnxscript", "onnxruntime", "openvino"),
    *("scipy", "sentencepiece", "sacrebleu"),
)
"""Those that results depend on."""


@functools.cache
def code_version() -> str:
    """The package's version and a digest of its source, e.g. `0.1.0+3f2a9c81d04e`.

    The digest, unlike a commit, is also right in a container and with uncommitted changes.
    """
    digest = hashlib.sha256()
    root = Path(moist.__file__).parent
    for path in sorted(root.rglob("*")):
        if path.suffix in {".py", ".html", ".css"} and path.is_file():  # an editor's lock is a link to nowhere
            digest.update(path.relative_to(root).as_posix().encode())
            digest.update(path.read_bytes())
    return f"{moist.__version__}+{digest.hexdigest()[:12]}"


def code_is_unchanged() -> bool:
    """Whether the source is still the one that `code_version` tells of: somebody may edit it meanwhile."""
    try:
        return code_version.__wrapped__() == code_version()
    except OSError:  # a file went while it was read
        return False


def versions() -> dict[str, str]:
    """The Python version and those of the libraries that are installed here."""
    found = {"python": platform.python_version(), "moist": code_version()}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def machine() -> str:
    """The processor and how many of its cores this process may use, e.g. `AMD EPYC, 2 cores`."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return f"{model}, {cores.usable()} cores"
