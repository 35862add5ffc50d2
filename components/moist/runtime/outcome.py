"""What a pipeline's runs end with, and how it is shown: a table in the terminal, a page and its figures in a folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from moist.errors import InputError
from moist.reports.results import Results
from moist.reports.table import text_table
from moist.runtime.runs import Artifacts, find_artifact, same_name
from moist.runtime.store import Store
from moist.runtime.terminal import show, shown


@dataclass(frozen=True)
class Outcome:
    """Which task's outputs `report` and `metrics` are what to look at, and how to read what to print beside them."""

    task: str
    text: Callable[[Store, Artifacts], str]


def show_outcome(outcome: Outcome, store: Store, artifacts: Artifacts, folder: Path) -> bool:
    """Print what came of a run, and keep its report and figures in a folder; False for a run of other tasks only."""
    if not any(same_name(task, outcome.task) for task in artifacts):
        return False
    text = outcome.text(store, artifacts).strip()
    (_, _, page), (_, _, metrics) = (find_artifact(artifacts, f"{outcome.task}/{of}") for of in ("report", "metrics"))
    report = folder / "report.html"
    store.download(page.uri, report)
    store.download(f"{metrics.uri}/results.json", folder / "results.json")
    show(f"\n{text}\n\nReport: {shown(report)}")
    return True


def ending_with(task: str) -> Outcome:
    """Of a task that writes the text itself, as its output `text`."""

    def text(store: Store, artifacts: Artifacts) -> str:
        return store.get_bytes(find_artifact(artifacts, f"{task}/text")[2].uri).decode()

    return Outcome(task, text)


def _table(store: Store, artifacts: Artifacts) -> str:
    _, _, metrics = find_artifact(artifacts, "evaluate/metrics")
    try:
        return text_table(Results.model_validate_json(store.get_bytes(f"{metrics.uri}/results.json")))
    except ValidationError as error:
        place = ".".join(map(str, error.errors(include_url=False)[0]["loc"]))
        raise InputError(f"{metrics.uri} is of another version of moist ({place}); its report can be read.") from None


TABLE = Outcome("evaluate", _table)
"""The MoIST pipeline's."""
