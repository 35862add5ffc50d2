"""Where a run's artifacts came from: as a text tree, and as one HTML page that needs neither network nor script."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from pydantic import Field

from moist.frozen import Frozen
from moist.reports.documents import document
from moist.reports.labels import printable

ROW, DOT_RADIUS, MARGIN = 44, 6, 14
"""The graph's row height, and the size of its dots and margin, in CSS pixels."""


class Given(Frozen):
    """An artifact that a task gave."""

    name: str
    kind: str
    uri: str
    digest: str
    bytes: int
    problems: list[str] = Field(default=[])


class Taken(Frozen):
    """An artifact that a task took, as it was then; `producer` is an index into the lineage's tasks, if it is known."""

    name: str
    uri: str
    digest: str
    producer: int | None
    output: str


class TaskLineage(Frozen):
    """One task: what ran, on what, and what came out."""

    name: str
    stage: str
    code_version: str
    settings: dict[str, object]
    started: str
    seconds: float
    device: str
    takes: list[Taken]
    gives: list[Given]
    problems: list[str] = Field(default=[])


class Lineage(Frozen):
    """The tasks behind a run's artifacts, producers before consumers; `lost` are sentences on what has no trace."""

    title: str
    root: str
    code_version: str
    tasks: list[TaskLineage]
    lost: list[str] = Field(default=[])

    @property
    def problems(self) -> list[str]:
        """Everything stale, damaged or missing, a sentence each."""
        found = list(self.lost)
        for task in self.tasks:
            found += [f"{task.name}: {problem}" for problem in task.problems]
            found += [f"{task.name}/{given.name}: {problem}" for given in task.gives for problem in given.problems]
        return found

    @property
    def older(self) -> list[str]:
        """The tasks that ran with other code than what is installed here."""
        return [task.name for task in self.tasks if task.code_version != self.code_version]

    @property
    def summary(self) -> str:
        gives = [given for task in self.tasks for given in task.gives]
        size = size_text(sum(given.bytes for given in gives))
        return f"{len(self.tasks)} tasks, {len(gives)} artifacts, {size}"

    @property
    def verdict(self) -> list[str]:
        """What to know first, a sentence each."""
        count = len(self.problems)
        lines = [
            f"{count} problem{'s' * (count != 1)}: stale, damaged or missing."
            if count
            else "Nothing is stale, damaged or missing."
        ]
        if self.older:
            lines.append(
                f"Made by other code than the present {self.code_version}: {', '.join(self.older)}."
                if len(self.older) < len(self.tasks)
                else f"All of it was made by other code than the present {self.code_version}."
            )
        return lines


def size_text(count: int) -> str:
    """Bytes for people: `512 B`, `1.4 kB`, `3.0 MB`."""
    size, units = float(count), ["kB", "MB", "GB"]
    if count < 1000:
        return f"{count} B"
    size /= 1000
    while size >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.1f} {units[0]}"


def settings_text(task: TaskLineage) -> str:
    """A task's parameters on one line."""
    return ", ".join(f"{name}={value}" for name, value in sorted(task.settings.items())) or "no parameters"


def facts_text(task: TaskLineage) -> str:
    """What ran, with which code, when, for how long and on what, on one line."""
    return f"stage {task.stage}, code {task.code_version}, {task.started}, {task.seconds:.1f} s on {task.device}"


def lineage_text(lineage: Lineage) -> str:
    """The lineage as a tree: from the last tasks' artifacts back to the data. A task is described where first met."""
    heading = [lineage.title, lineage.root, lineage.summary, *lineage.verdict]
    lines = [printable(line) for line in [*heading, *(f"! {problem}" for problem in lineage.problems)]]
    consumed = {taken.producer for task in lineage.tasks for taken in task.takes}
    seen: set[int] = set()
    for index in reversed(range(len(lineage.tasks))):
        if index not in consumed:
            lines += ["", printable(lineage.tasks[index].name), *_branches(lineage, index, seen)]
    return "\n".join(lines)


def _branches(lineage: Lineage, index: int, seen: set[int]) -> Iterator[str]:
    task = lineage.tasks[index]
    seen.add(index)
    yield f"│  {printable(facts_text(task))}"
    yield f"│  {printable(settings_text(task))}"
    children: list[tuple[str, list[str]]] = []
    for given in task.gives:
        marks = [f"! {problem}" for problem in given.problems]
        label = f"gives {given.name} ({given.kind}, {size_text(given.bytes)})"
        children.append((label, [printable(line) for line in (given.uri, given.digest, *marks)]))
    for taken in task.takes:
        if taken.producer is None:
            children.append((f"takes {taken.name}", [printable(taken.uri), printable(taken.digest)]))
        else:
            above = " (see above)" if taken.producer in seen else ""
            label = f"takes {taken.name}: {lineage.tasks[taken.producer].name}/{taken.output}{above}"
            children.append((label, [] if above else list(_branches(lineage, taken.producer, seen))))
    for position, (label, rest) in enumerate(children):
        last = position == len(children) - 1
        yield f"{'└' if last else '├'}─ {printable(label)}"
        yield from (f"{' ' if last else '│'}  {line}" for line in rest)


class Arc(NamedTuple):
    """One line of the graph: from a producer down to a consumer, with the artifacts that went along it."""

    path: str
    label: str
    troubled: bool


def lineage_page(lineage: Lineage) -> str:
    """The lineage as the text of one HTML document: a graph of the tasks, and every artifact in full."""
    arcs = _arcs(lineage)
    drawn = {"arcs": arcs, "row": ROW, "radius": DOT_RADIUS, "left": _left(lineage), "margin": MARGIN}
    filters: dict[str, Callable[..., str]] = {"size": size_text, "settings": settings_text, "facts": facts_text}
    return document("lineage.html", {"lineage": lineage, **drawn}, filters)


def _bulge(span: int) -> float:
    """How far an arc over so many rows leaves the dots' line."""
    return min(16 + 11 * span, 150) if span > 1 else 0


def _left(lineage: Lineage) -> int:
    """Where the dots' line is: right of the widest arc, of which a cubic curve reaches three quarters."""
    spans = [
        i - taken.producer for i, task in enumerate(lineage.tasks) for taken in task.takes if taken.producer is not None
    ]
    return MARGIN + round(0.75 * max(map(_bulge, spans), default=0))


def _arcs(lineage: Lineage) -> list[Arc]:
    left, arcs = _left(lineage), []
    for index, task in enumerate(lineage.tasks):
        producers: dict[int, list[str]] = {}
        for taken in task.takes:
            if taken.producer is not None:
                producers.setdefault(taken.producer, []).append(taken.output)
        for producer, outputs in producers.items():
            top, bottom, reach = ROW * producer + ROW // 2, ROW * index + ROW // 2, left - _bulge(index - producer)
            source = lineage.tasks[producer]
            troubled = any(given.problems for given in source.gives if given.name in outputs)
            path = f"M{left} {top}C{reach:.0f} {top} {reach:.0f} {bottom} {left} {bottom}"
            arcs.append(Arc(path, f"{source.name} gives {', '.join(outputs)} to {task.name}", troubled))
    return arcs
