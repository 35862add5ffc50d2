"""What Kubeflow sees of train_teacher: a container component made from the stage's declaration."""

from moist.runtime.kubeflow import container_component
from moist.stages.train_teacher.settings import STAGE

train_teacher = container_component(STAGE)
