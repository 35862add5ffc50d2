"""What Kubeflow sees of prepare_data: a container component made from the stage's declaration."""

from moist.runtime.kubeflow import container_component
from moist.stages.prepare_data.settings import STAGE

prepare_data = container_component(STAGE)
