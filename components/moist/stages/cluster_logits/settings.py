"""cluster_logits' settings, inputs and outputs."""

from pydantic import Field

from moist.runtime.kinds import CLUSTERS, LOGITS, METRICS
from moist.runtime.stage import Port, Stage, StageSettings


class Settings(StageSettings):
    """How many clusters."""

    k: int = Field(
        0,
        ge=0,
        le=1000,
        description="number of clusters; 0 chooses the best silhouette score; 1, all classes together, is for a router "
        "that answers itself",
    )
    max_k: int = Field(8, ge=2, le=1000, description="the largest number considered when k is 0")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of k-means")


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
