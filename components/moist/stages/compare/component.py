"""What Kubeflow sees of compare: a container component made from the stage's declaration."""

from moist.runtime.kubeflow import container_component
from moist.stages.compare.settings import STAGE

compare = container_component(STAGE)
