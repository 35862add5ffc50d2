"""The three small stages as a Kubeflow pipeline: numbers, scale, total."""

from typing import Any

from kfp import dsl
from moist.runtime.kubeflow import Images, container_component
from moist.runtime.scheduling import on_cpu

from small_stages.numbers.settings import STAGE as NUMBERS
from small_stages.scale.settings import STAGE as SCALE
from small_stages.total.settings import STAGE as TOTAL


def small_pipeline(routers: tuple[str, ...] = (), images: Images | None = None) -> Any:
    """Made as pipeline.py makes the real one."""
    numbers, scale, total = (container_component(stage) for stage in (NUMBERS, SCALE, TOTAL))

    @dsl.pipeline(name="small")
    def small(dataset: str = "digits", count: int = 3, factor: float = 2.0, gpu_count: str = "1") -> None:
        made = on_cpu(numbers(count=count), "Make numbers")
        scaled = on_cpu(scale(factor=factor, numbers=made.outputs["numbers"]), "Scale")
        on_cpu(total(scaled=scaled.outputs["scaled"], numbers=made.outputs["numbers"]), "Total")

    return (images or Images()).use_in(small)
