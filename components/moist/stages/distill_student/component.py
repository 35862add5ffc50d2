"""What Kubeflow sees of distill_student: a container component made from the stage's declaration."""

from moist.runtime.kubeflow import container_component
from moist.stages.distill_student.settings import STAGE

distill_student = container_component(STAGE)
