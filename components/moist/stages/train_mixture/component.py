"""What Kubeflow sees of train_mixture: a container component made from the stage's declaration."""

from moist.runtime.kubeflow import container_component
from moist.stages.train_mixture.settings import STAGE

train_mixture = container_component(STAGE)
