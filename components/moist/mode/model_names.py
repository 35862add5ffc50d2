"""Names of mixtures in settings: single, dense-E, sparse-E-K."""

import re
from typing import Literal, NamedTuple

Gate = Literal["single", "dense", "sparse"]
_NAME = re.compile(r"single|dense-(\d{1,4})|sparse-(\d{1,4})-(\d{1,4})")


class ModelName(NamedTuple):
    """What a name says."""

    gate: Gate
    experts: int
    top_k: int


def parse_model_name(name: str) -> ModelName:
    """Read a name: `single` (one expert, no gate), `dense-E` (E experts) or `sparse-E-K` (the K heaviest of E experts).

    Raises ValueError for another name, or a choice that cannot be made.
    """
    if _NAME.fullmatch(name) is None:
        raise ValueError("give single, dense-E or sparse-E-K with numbers for E and K")
    counts = [int(part) for part in name.split("-")[1:]]
    experts, top_k = (counts[0], counts[-1]) if counts else (1, 1)
    if not 1 <= top_k <= experts <= 1024:
        raise ValueError(f"{top_k} of {experts} experts cannot be chosen; give 1 <= K <= E <= 1024")
    gates: dict[str, Gate] = {"single": "single", "dense": "dense", "sparse": "sparse"}
    return ModelName(gates[name.split("-")[0]], experts, top_k)
