"""Expert probing: what each expert and the gate know, and how their errors add up (MoDE paper, definitions 1 to 4)."""

from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field, model_validator

from moist.errors import InputError
from moist.frozen import Frozen


class Probe(Frozen):
    """Expert probing of one mixture on N labelled inputs. All counts add up, and are checked to.

    dominating expert: the one with the largest weight (the first, if tied); its domain: the inputs that it dominates.
    masked: the answer when the dominating expert gets weight 1 and the others 0.
    """

    inputs: int = Field(gt=0)
    correct: int = Field(description="by the mixture itself")
    masked_correct: int = Field(description="by the dominating expert alone; also: recognised by the gate")
    recognisable: int = Field(description="by at least one expert alone")
    type_1_errors: int = Field(description="by no expert alone (definition 3)")
    type_2_errors: int = Field(description="by some expert, but not the dominating one (definition 4)")
    gained: int = Field(description="by the mixture, though not by the dominating expert alone: what mixing repairs")
    lost: int = Field(description="by the dominating expert alone, though not by the mixture: what mixing spoils")
    domain_inputs: list[int] = Field(description="inputs in each expert's domain")
    domain_correct: list[int] = Field(description="of these, right by that expert alone")
    domain_by_class: list[list[int]] = Field(
        description="(experts, classes): inputs of each class in the domain (Fig 3)"
    )
    inclination: float = Field(
        description="mean of largest minus second largest weight: |g1 - g2| for two experts; 0-1"
    )
    consistency: float | None = Field(
        description="share of equal answers over all inputs and pairs of experts; None for one expert"
    )

    @property
    def accuracy(self) -> float:
        """Of the mixture, 0-1."""
        return self.correct / self.inputs

    @property
    def masked_accuracy(self) -> float:
        """With gate masking, 0-1: the sum of domain_correct over all inputs."""
        return self.masked_correct / self.inputs

    @property
    def domain_accuracy(self) -> list[float | None]:
        """Each expert's accuracy on its own domain, 0-1; None where the domain is empty."""
        return [c / n if n else None for c, n in zip(self.domain_correct, self.domain_inputs, strict=True)]

    @property
    def recognition_accuracy(self) -> float | None:
        """Of the inputs that some expert gets right, the share whose dominating expert does; None if there are none."""
        return self.masked_correct / self.recognisable if self.recognisable else None

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        sums = {
            "masked_correct + type_2_errors = recognisable": (
                self.masked_correct + self.type_2_errors,
                self.recognisable,
            ),
            "recognisable + type_1_errors = inputs": (self.recognisable + self.type_1_errors, self.inputs),
            "masked_correct + gained - lost = correct": (self.masked_correct + self.gained - self.lost, self.correct),
            "sum of domain_inputs = inputs": (sum(self.domain_inputs), self.inputs),
            "sum of domain_correct = masked_correct": (sum(self.domain_correct), self.masked_correct),
            "sums of domain_by_class = domain_inputs": ([sum(row) for row in self.domain_by_class], self.domain_inputs),
        }
        for rule, (left, right) in sums.items():
            if left != right:
                raise ValueError(f"the probe does not add up: {rule}, but {left} is not {right}")
        return self


class Repairs(Frozen):
    """Of the errors of one mixture, those that another does not make on the same inputs, and the other way round."""

    type_1: int = Field(description="errors of the first where none of its experts is right alone, right in the second")
    type_2: int = Field(description="the same of type 2 (some expert right alone, but not the dominating one)")
    of_mixing: int = Field(description="the same where the dominating expert was right alone")
    spoiled: int = Field(description="right in the first, errors of the second")


def count_repairs(
    first: ArrayLike, weights: ArrayLike, expert_logits: ArrayLike, second: ArrayLike, labels: ArrayLike
) -> Repairs:
    """What `second`, float (N, C), the logits of another mixture, repairs of the first; the rest as in `probe_experts`.

    As the MoDE paper counts where it asks how and why MoDE works: inputs that the whole mixture newly gets right, by
    the error that the first made of them.
    """
    before, after, e, y = np.asarray(first), np.asarray(second), np.asarray(expert_logits), np.asarray(labels)
    masked, type_1, type_2 = _errors(e.argmax(axis=2) == y[:, None], np.asarray(weights).argmax(axis=1))
    was_right, is_right = before.argmax(axis=1) == y, after.argmax(axis=1) == y
    repaired = ~was_right & is_right
    return Repairs(
        type_1=int((repaired & type_1).sum()),
        type_2=int((repaired & type_2).sum()),
        of_mixing=int((repaired & masked).sum()),
        spoiled=int((was_right & ~is_right).sum()),
    )


def probe_experts(
    logits: ArrayLike, weights: ArrayLike, expert_logits: ArrayLike, labels: ArrayLike, active: ArrayLike | None = None
) -> Probe:
    """Probe a mixture from what it gave for N inputs, E experts and C classes.

    `logits`: float (N, C), of the mixture. `weights`: float (N, E), of the gate. `expert_logits`: float (N, E, C), of
    each expert alone (weight 1), through the rest of the network if there is any. `labels`: int (N,), 0 to C - 1.
    `active`: bool (N, E): count only these experts' answers (default: all, also those that a sparse gate left out). In
    consistency a pair counts where both are active.

    Raises InputError for shapes that do not fit, no inputs, labels outside the classes, or a dominating expert that is
    not active.
    """
    mixture, g, e, y = np.asarray(logits), np.asarray(weights), np.asarray(expert_logits), np.asarray(labels)
    if e.ndim != 3 or mixture.shape != (e.shape[0], e.shape[2]) or g.shape != e.shape[:2] or y.shape != e.shape[:1]:
        raise InputError(
            f"probing needs logits (N, C), weights (N, E), expert_logits (N, E, C) and labels (N,), "
            f"but got {mixture.shape}, {g.shape}, {e.shape} and {y.shape}."
        )
    N, E, C = e.shape
    if N == 0:
        raise InputError("probing got no inputs: give at least one.")
    if y.min() < 0 or y.max() >= C:
        raise InputError(
            f"labels run from {y.min()} to {y.max()}, but there are {C} classes: 0 to {C - 1} are allowed."
        )
    runs = np.ones((N, E), dtype=bool) if active is None else np.asarray(active, dtype=bool)
    dominating = g.argmax(axis=1)
    if not runs[np.arange(N), dominating].all():
        raise InputError("an expert has the largest weight of an input for which it is not active.")
    answers = e.argmax(axis=2)
    right = (answers == y[:, None]) & runs
    masked, type_1, type_2 = _errors(right, dominating)
    whole = mixture.argmax(axis=1) == y
    domains = np.zeros((E, C), dtype=np.int64)
    np.add.at(domains, (dominating, y), 1)
    largest = np.sort(g, axis=1)[:, ::-1]
    return Probe(
        inputs=N,
        correct=int(whole.sum()),
        masked_correct=int(masked.sum()),
        recognisable=int((~type_1).sum()),
        type_1_errors=int(type_1.sum()),
        type_2_errors=int(type_2.sum()),
        gained=int((whole & ~masked).sum()),
        lost=int((masked & ~whole).sum()),
        domain_inputs=np.bincount(dominating, minlength=E).tolist(),
        domain_correct=np.bincount(dominating[masked], minlength=E).tolist(),
        domain_by_class=domains.tolist(),
        inclination=float((largest[:, 0] - (largest[:, 1] if E > 1 else 0.0)).mean()),
        consistency=_consistency(answers, runs),
    )


def _errors(right: np.ndarray, dominating: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """From what experts get right alone (N, E): right by the dominating one, errors of type 1, of type 2; each (N,)."""
    masked: np.ndarray = right[np.arange(len(right)), dominating]
    some = np.asarray(right.any(axis=1))
    return masked, ~some, some & ~masked


def _consistency(answers: np.ndarray, runs: np.ndarray) -> float | None:
    """Share of equal answers over all pairs of active experts of all inputs; (N, E) each."""
    same = pairs = 0
    for i in range(answers.shape[1]):
        for j in range(i):
            both = runs[:, i] & runs[:, j]
            pairs += int(both.sum())
            same += int((both & (answers[:, i] == answers[:, j])).sum())
    return same / pairs if pairs else None
