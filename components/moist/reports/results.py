"""The results of one run, as evaluate writes them and the table and the report read them."""

from typing import Literal

from pydantic import Field

from moist.frozen import Frozen


class Latency(Frozen):
    """Warm wall time of one batch, in milliseconds, all rows measured in one process with the same runtime."""

    batch_size: int
    median_ms: float
    p95_ms: float


class Reliability(Frozen):
    """Calibration of predicted confidences in equal-width bins; empty bins have count 0."""

    confidence: list[float] = Field(description="mean confidence of each bin, 0-1")
    accuracy: list[float] = Field(description="accuracy in each bin, 0-1")
    count: list[int] = Field(description="test images in each bin")
    ece: float = Field(description="expected calibration error, 0-1")


class Routing(Frozen):
    """How a mixture routes the test set. accuracy = r * a + (1 - r) * b holds to rounding."""

    router: str = Field(description="cnn, linear, transformer or oracle")
    r: float = Field(description="router accuracy: images sent to the student whose cluster holds their class")
    a: float | None = Field(description="accuracy when rightly routed; None if no image was")
    b: float | None = Field(description="accuracy when wrongly routed; None if no image was")
    clusters: list[list[int]] = Field(description="class indices of each student's cluster")
    share: list[list[float]] = Field(
        description="(classes, students): share of each class sent to each student (Fig 2)"
    )
    confusion: list[list[int]] = Field(description="(students, students): rows true cluster, columns chosen student")
    reliability: Reliability


class CascadePoint(Frozen):
    """A model that asks the teacher, or looks again, where it is least sure."""

    share: float = Field(description="share of the held-out images asked about, 0-1")
    accuracy: float = Field(description="0-1, with what was answered there")
    macs: float = Field(description="mean multiply-adds per image: the model, and what was asked where it was")


class Row(Frozen):
    """One line of the table: a model measured on the held-out images."""

    key: str = Field(description="short name, e.g. teacher, student, mixture, oracle, same_budget, same_cost")
    label: str = Field(description="what the table prints")
    role: Literal["teacher", "student", "mixture", "control", "upper bound"]
    accuracy: float = Field(description="0-1, on the held-out images")
    loss: float = Field(description="mean negative log-likelihood, nats")
    macs: float = Field(description="multiply-adds per image at inference: router + the students that run")
    router_macs: float = Field(description="the router's part of macs; 0 without a router")
    paper_mflops: float = Field(
        description="the paper's unit: MMAC / 64, router left out; only to compare with its table"
    )
    parameters: int = Field(description="all parameters that must be stored")
    epochs: float = Field(description="passes over the training images that led to this model, all its parts together")
    training_macs: float = Field(description="forward multiply-adds spent in training this model and its parts")
    latency: list[Latency]
    confusion: list[list[int]] = Field(description="(classes, classes): rows true class, columns predicted")
    reliability: Reliability
    routing: Routing | None = Field(
        default=None, description="None for single models, and for a mixture whose router answers most images itself"
    )
    cascade: list[CascadePoint] = Field(default=[], description="by growing share; empty for teacher and oracle")
    second_look: list[CascadePoint] = Field(
        default=[],
        description="by growing share: a single student that averages in its answer to the mirrored image; empty for "
        "other models, those of a sweep, and images that training does not mirror",
    )
    width: int | None = Field(default=None, description="units of the students' hidden layer; None for a teacher")
    router_size: int | None = Field(default=None, description="a linear router's first hidden layer")
    right_alone: dict[str, int] = Field(
        default={}, description="by the other row's key: images that this model got right and the other one wrong"
    )
    note: str = ""

    @property
    def swept(self) -> bool:
        """Whether it is one of many that came through one input: reports show its figures, and no details."""
        return self.key.rsplit("_", 1)[-1].isdecimal()


class Curve(Frozen):
    """One stage's training curves: one value an epoch."""

    stage: str
    series: dict[str, list[float]] = Field(description="e.g. loss, accuracy, validation_accuracy")


class Clustering(Frozen):
    """How the classes were grouped from the teacher's mean logits."""

    mean_logits: list[list[float]] = Field(
        description="(classes, classes): row c is the teacher's mean logit vector of class c"
    )
    similarity: list[list[float]] = Field(
        description="(classes, classes): cosine similarity of the centred rows of mean_logits, -1 to 1"
    )
    clusters: list[list[int]]
    criterion: str = Field(description="how k came about, in words")
    scores: dict[str, float] = Field(description="k (as text) to silhouette score, for every k considered")


class Data(Frozen):
    """What the run learnt from and was measured on."""

    name: str
    classes: list[str]
    shape: tuple[int, int, int] = Field(description="height, width, channels")
    train: int
    validation: int
    test: int
    split: str = Field(description="a sentence: where the held-out images come from")


class Results(Frozen):
    """Everything the table and the report show."""

    data: Data
    rows: list[Row]
    clustering: Clustering
    curves: list[Curve]
    seed: int
    device: str
    versions: dict[str, str]
    threads: int
    number_format: str = Field(default="", description="of the forward pass: fp32 or bf16")
    lineage: list[dict[str, str]] = Field(
        default=[],
        description="the inputs, one a line: name, stage, uri, digest (sha256:...), and code version, seconds, "
        "parameters as text",
    )
    warning: str = Field(default="", description="what keeps these numbers from being what they seem; a sentence")
