"""What Kubeflow sees of compare_sweep: a container component made from the stage's declaration."""

from moist.runtime.kubeflow import container_component
from moist.stages.compare_sweep.settings import STAGE

compare_sweep = container_component(STAGE)
