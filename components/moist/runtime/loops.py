"""Loops (dsl.ParallelFor) in a pipeline: the tasks that they make, and with what settings."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from google.protobuf.json_format import MessageToDict

from moist.errors import InputError
from moist.runtime.task import iteration_name

FIELD = re.compile(r"""parseJson\(string_value\)\["(.+)"\]""")


class Planned(NamedTuple):
    """A task that a pipeline will run; `values` are those of its parameters that are known before it starts."""

    name: str
    component: str
    values: dict[str, Any]


def planned_tasks(pipeline: Any, arguments: Mapping[str, Any]) -> Iterator[Planned]:
    """Every task that a pipeline runs when called with these arguments, one for each iteration of a loop.

    Raises:
        InputError: a list to loop over is empty, has an entry twice, or has one that is no structure where one must be.
    """
    spec = MessageToDict(pipeline.pipeline_spec)
    yield from _tasks(spec, spec["root"]["dag"], dict(arguments), ())


def _tasks(
    spec: dict[str, Any], dag: dict[str, Any], known: dict[str, Any], iteration: tuple[int, ...]
) -> Iterator[Planned]:
    for name, task in dag["tasks"].items():
        component = task["componentRef"]["name"]
        inside = spec["components"][component].get("dag")
        values = _values(task, known)
        if inside is None:
            yield Planned(iteration_name(name, iteration), component, values)
        elif "parameterIterator" not in task:
            yield from _tasks(spec, inside, values, iteration)
        else:
            loop = task["parameterIterator"]
            for index, item in enumerate(_items(loop["items"], values)):
                yield from _tasks(spec, inside, {**values, loop["itemInput"]: item}, (*iteration, index))


def _items(items: Mapping[str, Any], values: Mapping[str, Any]) -> list[Any]:
    """What a loop runs over; nothing where only an earlier task will know."""
    if "raw" not in items and items["inputParameter"] not in values:
        return []
    found: list[Any] = json.loads(items["raw"]) if "raw" in items else values[items["inputParameter"]]
    name = items.get("inputParameter", "").removeprefix("pipelinechannel--")
    if not found:
        raise InputError(
            f"The list {name} is empty: name at least one."
        )  # what collects from the loop would get nothing
    for index, item in enumerate(found):
        if item in found[:index]:
            raise InputError(f"The list {name} has {json.dumps(item)} twice.")
    return found


def _values(task: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    values = {}
    for name, given in sorted(task.get("inputs", {}).get("parameters", {}).items()):
        source = given.get("componentInputParameter")
        if source in known:
            field = FIELD.fullmatch(given.get("parameterExpressionSelector", ""))
            values[name] = _field(known[source], field[1]) if field else known[source]
        elif "runtimeValue" in given:
            values[name] = given["runtimeValue"].get("constant")
    return values


def _field(item: Any, name: str) -> Any:
    if not isinstance(item, Mapping):
        raise InputError(f'{json.dumps(item)} is not a structure with "{name}" in it, such as {{"{name}": ...}}.')
    return item.get(name)
