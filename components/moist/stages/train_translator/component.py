"""What Kubeflow sees of train_translator: a container component made from the stage's declaration."""

from moist.runtime.kubeflow import container_component
from moist.stages.train_translator.settings import STAGE

train_translator = container_component(STAGE)
