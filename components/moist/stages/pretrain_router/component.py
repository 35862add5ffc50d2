"""What Kubeflow sees of pretrain_router: a container component made from the stage's declaration."""

from moist.runtime.kubeflow import container_component
from moist.stages.pretrain_router.settings import STAGE

pretrain_router = container_component(STAGE)
