"""A run on a cluster, watched to its end."""

import time
from collections.abc import Mapping
from typing import Any

from moist.runtime.cluster import Cluster
from moist.runtime.pipeline_spec import dags_of
from moist.runtime.terminal import say

FINAL_STATES = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
POLL_SECONDS = 5.0
WATCH_ATTEMPTS = 30
"""An outage of about ten minutes does not end the watching of a run, which goes on meanwhile."""


def task_names(pipeline: Any) -> dict[str, str]:
    """What Kubeflow may call each task, also one in a loop: its name in the DAG, and its display name.

    Loops themselves are left out.
    """
    components, names = pipeline.pipeline_spec.components, {}
    for dag in dags_of(pipeline):
        for name, task in dag.tasks.items():
            if not components[task.component_ref.name].HasField("dag"):
                names[name] = names[task.task_info.name or name] = name
    return names


def watch(cluster: Cluster, run_id: str, names: Mapping[str, str]) -> Any:
    """Wait for a run to end, with a line for each change of a task's state; returns the run."""
    seen: dict[str, str] = {}
    with cluster.patient(WATCH_ATTEMPTS):
        while True:
            run = cluster.call("get_run", run_id=run_id)
            for key, detail in _details(run).items():
                task, state = names.get(detail.display_name or ""), detail.state
                if task is None or not state or seen.get(key) == state:  # one that never ran has no state
                    continue
                again = " again" if seen.get(key) == "FAILED" else ""
                seen[key] = state
                say(f"{task}: {state.lower()}{again}{_duration(detail)}")
            if run.state in FINAL_STATES:
                return run
            time.sleep(POLL_SECONDS)


def _details(run: Any) -> dict[str, Any]:
    """A run's tasks, each once, as last seen. A loop has one of the same name for each iteration."""
    found = (run.run_details.task_details if run.run_details else None) or []
    dated = sorted(found, key=lambda detail: str(detail.create_time or ""))
    return {detail.task_id or detail.display_name: detail for detail in dated}


def _task_of(shown: str, names: Mapping[str, str]) -> str | None:
    """The task that a name of Kubeflow's belongs to: its own, or that of what prepares it for a pod."""
    return names.get(shown) or names.get(shown.removesuffix("-driver"))


def _duration(detail: Any) -> str:
    if detail.state != "SUCCEEDED" or not (detail.start_time and detail.end_time):
        return ""
    return f" after {(detail.end_time - detail.start_time).total_seconds():.0f} s"


def failure_of(run: Any, names: Mapping[str, str], link: str) -> str:
    """One sentence on how a run ended and which tasks failed; `names` are of `task_names`, `link` is to its logs."""
    failed = [detail for detail in _details(run).values() if detail.state == "FAILED"]
    tasks = [(_task_of(detail.display_name or "", names), detail.error) for detail in failed]
    errors = [(f"{task} failed", error) for task, error in tasks if task] + [("", run.error)]
    said = [": ".join(filter(None, (what, error and error.message))) for what, error in errors]
    said = list(dict.fromkeys(sentence for sentence in said if sentence))
    why = f" ({'; '.join(said)})" if said else ""
    return f"The run ended as {run.state.lower()}{why}. Its logs: {link}"
