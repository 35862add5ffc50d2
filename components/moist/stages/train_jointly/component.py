"""What Kubeflow sees of train_jointly: a container component made from the stage's declaration."""

from moist.runtime.kubeflow import container_component
from moist.stages.train_jointly.settings import STAGE

train_jointly = container_component(STAGE)
