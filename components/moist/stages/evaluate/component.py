"""What Kubeflow sees of evaluate: a container component made from the stage's declaration."""

from moist.runtime.kubeflow import container_component
from moist.stages.evaluate.settings import STAGE

evaluate = container_component(STAGE)
