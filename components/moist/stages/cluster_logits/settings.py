"""cluster_logits' settings, inputs and outputs."""

from pydantic import Field, field_validator

from moist.runtime.kinds import CLUSTERS, LOGITS, METRICS
from moist.runtime.stage import Port, Stage, StageSettings


class Settings(StageSettings):
    """How many clusters."""

    k: int = Field(0, ge=0, le=1000, description="number of clusters, at least 2; 0 chooses the best silhouette score")
    max_k: int = Field(8, ge=2, le=1000, description="the largest number considered when k is 0")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of k-means")

    @field_validator("k")
    @classmethod
    def _is_no_single_cluster(cls, k: int) -> int:
        if k == 1:
            raise ValueError("must be 0, or at least 2")
        return k


STAGE = Stage(
    name="cluster_logits",
    summary="Group the classes by k-means on the teacher's mean logits.",
    settings=Settings,
    inputs={"logits": LOGITS},
    outputs={
        "clusters": CLUSTERS,
        "view": Port("view", "HTML", "how alike the classes are, and how they were grouped"),
        "metrics": METRICS,
    },
    image="slim",
)
