"""The mixture: a router that sends each image to one student, and each student run once on its share of the batch."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from moist.errors import InputError
from moist.models.routers import ClassRouter, Router


def check_clusters(clusters: Sequence[Sequence[int]]) -> int:
    """The number of classes that `clusters` (class indices of each student) divide among the students.

    Raises:
        InputError: a cluster is empty, or the clusters are not a partition of the classes 0 .. n-1.
    """
    if not clusters:
        raise InputError("a mixture needs at least one cluster of classes, and none is given")
    for student, cluster in enumerate(clusters):
        if not cluster:
            raise InputError(
                f"cluster {student} is empty: give every student at least one class, or use fewer students"
            )
    members = sorted(label for cluster in clusters for label in cluster)
    if members != list(range(len(members))):
        raise InputError(
            f"the clusters {[list(cluster) for cluster in clusters]} are not a partition: every class from 0 to "
            f"{max(members)} must be in exactly one cluster"
        )
    return len(members)


class Mixture(nn.Module):
    """One router and k students; only the student that the router chooses runs.

    With a `trunk`, the first layers that all students share, it runs once for each image, and router and students take
    its features instead of the image.

    Where the router's calibrated probability of its choice is at most `second_below`, its second choice runs as well,
    and the answer is the mean of both students' probabilities, weighted by the router's.

    With `router_answers` the router, a `ClassRouter` that takes the image, is the first to answer: the student that it
    chooses runs where the router's probability of its class is at most `second_below`, and the answer there is the mean
    of both logits. With `second_mirrored` (and a single student) both look at the mirrored image there, too, and the
    answer is the mean of all four.

    Without a router (the conceptual 100% router, which knows the label) only `forward_to` can be used, with
    `student_of_class[labels]` as the choice: an upper bound.
    """

    student_of_class: Tensor

    def __init__(
        self,
        router: nn.Module | None,
        students: Iterable[nn.Module],
        clusters: Sequence[Sequence[int]],
        trunk: nn.Module | None = None,
        second_below: float = 0.0,
        router_answers: bool = False,
        second_mirrored: bool = False,
    ) -> None:
        super().__init__()
        classes = check_clusters(clusters)
        if router_answers and (trunk is not None or not isinstance(router, ClassRouter)):
            raise InputError("only a class router on the images themselves can answer: use one, and share no layers")
        if second_mirrored and not (router_answers and len(clusters) == 1):
            raise InputError("only a router that answers itself, beside one student, asks about mirrored images")
        self.second_below = second_below
        self.router_answers = router_answers
        self.second_mirrored = second_mirrored
        self.trunk = trunk
        self.router = router
        self.students = nn.ModuleList(students)
        self.clusters = tuple(tuple(cluster) for cluster in clusters)
        if len(self.students) != len(self.clusters):
            raise InputError(
                f"a mixture of {len(self.students)} students needs as many clusters, not {len(self.clusters)}"
            )
        student_of_class = torch.empty(classes, dtype=torch.int64)
        for student, cluster in enumerate(self.clusters):
            student_of_class[list(cluster)] = student
        # Not persistent: it follows from the clusters, and two sources could disagree.
        self.register_buffer("student_of_class", student_of_class, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, float (B, classes), of images, float (B, channels, height, width), each from its chosen student."""
        features = self.features(images)
        if self.router_answers:
            return self._with_router(features)
        router_logits = self._choose(features)
        first = self._dispatch(features, router_logits.argmax(dim=1))
        return self._with_second(features, router_logits, first) if self.second_below > 0 else first

    def features(self, images: Tensor) -> Tensor:
        """What router and students take, float (B, ...), of images, float (B, channels, height, width)."""
        return images if self.trunk is None else self.trunk(images)

    def route(self, images: Tensor) -> Tensor:
        """Router logits, float (B, students), of images, float (B, channels, height, width).

        Raises:
            InputError: the mixture has no router.
        """
        return self._choose(self.features(images))

    def forward_to(self, images: Tensor, expert_index: Tensor) -> Tensor:
        """Logits, float (B, classes), each from the student that `expert_index`, int64 (B,), names.

        The batch is grouped by student: each runs once, on its share, and not at all if it has none.

        Raises:
            InputError: `expert_index` has another length than the batch, or names a student that is not there.
        """
        return self._dispatch(self.features(images), expert_index)

    def dense(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Every student on every image, for training: router logits (B, students), logits (B, students, classes).

        Raises:
            InputError: the mixture has no router.
        """
        features = self.features(images)
        return self._choose(features), torch.stack([student(features) for student in self.students], dim=1)

    def _choose(self, features: Tensor) -> Tensor:
        if self.router is None:
            raise InputError("this mixture has no router: choose the students with forward_to")
        logits: Tensor = self.router(features)
        return logits

    def certainty(self, images: Tensor) -> Tensor:
        """The router's probability of its choice, or of its own answer, float (B,): what `second_below` is compared to.

        Raises:
            InputError: the mixture has no router with a temperature.
        """
        features = self.features(images)
        if isinstance(self.router, ClassRouter) and self.router_answers:
            probabilities: Tensor = self.router.student(features).float().softmax(dim=1)
        else:
            probabilities = self._probabilities(self._choose(features))
        return probabilities.amax(dim=1)

    def sent_to(self, images: Tensor) -> Tensor:
        """The student of each image, int64 (B,), the first if there are two; -1 where the router answers alone."""
        chosen = self.route(images).argmax(dim=1)
        return torch.where(self.certainty(images) > self.second_below, -1, chosen) if self.router_answers else chosen

    def runs(self, second_share: float) -> tuple[float, float]:
        """How often students and router run on an image, in the mean, if there is a second opinion on this share."""
        again = second_share if self.second_mirrored else 0.0
        return (second_share if self.router_answers else 1 + second_share) + again, 1 + again

    def _probabilities(self, router_logits: Tensor) -> Tensor:
        if not isinstance(self.router, Router):
            raise InputError("only a router with a temperature can be unsure: use one of moist.models.routers")
        return self.router.probabilities(router_logits.float())

    def _with_second(self, features: Tensor, router_logits: Tensor, first: Tensor) -> Tensor:
        certainty = self._probabilities(router_logits).amax(dim=1)
        rows = (certainty <= self.second_below).nonzero().squeeze(1)
        if len(rows) == 0 or len(self.students) == 1:
            return first
        weights, students = self._probabilities(router_logits[rows]).topk(2, dim=1)
        answers = torch.stack([first[rows], self._dispatch(features[rows], students[:, 1])], dim=1).float()
        shares = (weights / weights.sum(dim=1, keepdim=True)).log().unsqueeze(2)
        both = torch.logsumexp(answers.log_softmax(dim=2) + shares, dim=1)
        return first.index_copy(0, rows, both.to(first.dtype))

    def _with_router(self, features: Tensor) -> Tensor:
        router = self.router
        assert isinstance(router, ClassRouter)
        own: Tensor = router.student(features).float()
        rows = (own.softmax(dim=1).amax(dim=1) <= self.second_below).nonzero().squeeze(1)
        if len(rows) == 0:
            return own
        chosen = router.of_classes(own[rows]).argmax(dim=1)
        asked = self.opinions(features[rows], lambda images: self._dispatch(images, chosen))
        return own.index_copy(0, rows, (own[rows] + asked) / (1 + self.opinion_count))

    @property
    def opinion_count(self) -> int:
        """How many answers a second opinion adds to the router's own."""
        return 3 if self.second_mirrored else 1

    def opinions(self, images: Tensor, student: Callable[[Tensor], Tensor]) -> Tensor:
        """The sum of these answers: logits, float (B, classes), the student's and those about the mirrored images."""
        if not (self.second_mirrored and isinstance(self.router, ClassRouter)):
            return student(images)
        mirrored = images.flip(3)
        total: Tensor = student(images) + student(mirrored) + self.router.student(mirrored)
        return total

    def _dispatch(self, features: Tensor, expert_index: Tensor) -> Tensor:
        batch, experts = len(features), len(self.students)
        if expert_index.shape != (batch,):
            raise InputError(
                f"expert_index has shape {tuple(expert_index.shape)}: it must be ({batch},), one per image"
            )
        if batch == 0:
            return features.new_zeros((0, len(self.student_of_class)))
        if batch == 1:
            return self._student(int(expert_index))(features)  # type: ignore[no-any-return]
        order = expert_index.argsort(stable=True)
        ordered = expert_index[order]
        # The shares' boundaries in the ordered batch, with one transfer from the device.
        edges = torch.searchsorted(ordered, torch.arange(experts + 1, device=ordered.device)).tolist()
        if edges[0] != 0 or edges[-1] != batch:
            raise InputError(f"expert_index names students outside 0 to {experts - 1}: use the router's argmax")
        used = [expert for expert in range(experts) if edges[expert] < edges[expert + 1]]
        if len(used) == 1:
            return self._student(used[0])(features)  # type: ignore[no-any-return]
        grouped = features.index_select(0, order)
        logits = torch.cat([self.students[e](grouped[edges[e] : edges[e + 1]]) for e in used])
        return torch.empty_like(logits).index_copy(0, order, logits)

    def _student(self, index: int) -> nn.Module:
        if not 0 <= index < len(self.students):
            raise InputError(f"expert_index names student {index}: it must be 0 to {len(self.students) - 1}")
        return self.students[index]
