"""What Kubeflow sees of prepare_table: a container component made from the stage's declaration."""

from moist.runtime.kubeflow import container_component
from moist.stages.prepare_table.settings import STAGE

prepare_table = container_component(STAGE)
