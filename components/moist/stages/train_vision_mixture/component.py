"""What Kubeflow sees of train_vision_mixture: a container component made from the stage's declaration."""

from moist.runtime.kubeflow import container_component
from moist.stages.train_vision_mixture.settings import STAGE

train_vision_mixture = container_component(STAGE)
