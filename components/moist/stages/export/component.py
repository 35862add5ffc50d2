"""What Kubeflow sees of export: a container component made from the stage's declaration."""

from moist.runtime.kubeflow import container_component
from moist.stages.export.settings import STAGE

export = container_component(STAGE)
