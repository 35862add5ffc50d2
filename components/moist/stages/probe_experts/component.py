"""What Kubeflow sees of probe_experts: a container component made from the stage's declaration."""

from moist.runtime.kubeflow import container_component
from moist.stages.probe_experts.settings import STAGE

probe_experts = container_component(STAGE)
