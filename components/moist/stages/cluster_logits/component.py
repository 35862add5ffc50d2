"""What Kubeflow sees of cluster_logits: a container component made from the stage's declaration."""

from moist.runtime.kubeflow import container_component
from moist.stages.cluster_logits.settings import STAGE

cluster_logits = container_component(STAGE)
