"""Every command in the README works as written, and its tables are the results."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, imported, moist_pipeline, run_command, run_program
from moist.pipelines.kinds import pipelines
from moist.runtime.command_line import parser_for
from moist.runtime.flags import images_of

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    shlex.split(line, comments=True)
    for block in BLOCKS
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip()
]
PIPELINE = [command[2:] for command in COMMANDS if command[:2] == ["python", "pipeline.py"]]
STAGES = [command for command in COMMANDS if command[:2] == ["python", "-m"]]
MAKE = [command for command in COMMANDS if command[0] == "make"]


def test_every_command_is_of_a_kind_that_is_tested() -> None:
    assert len(PIPELINE) >= 6
    assert len(STAGES) == 3
    assert len(MAKE) >= 3
    assert len(COMMANDS) == len(PIPELINE) + len(STAGES) + len(MAKE)


@pytest.mark.parametrize("arguments", PIPELINE, ids=" ".join)
def test_the_command_line_takes_the_arguments(arguments: list[str]) -> None:
    """Each is parsed and checked as for the real thing; that the commands then work, other tests show."""
    if arguments[-1] == "--help":
        assert run_command(*arguments).returncode == 0
        return
    options = parser_for(moist_pipeline(), arguments).parse_args(arguments)
    if hasattr(options, "preset"):
        pipeline = pipelines(moist_pipeline())[options.pipeline]
        pipeline.arguments(pipeline.make(images_of(options), vars(options)), options)


@pytest.mark.parametrize("command", MAKE, ids=" ".join)
def test_make_knows_the_target(command: list[str]) -> None:
    done = subprocess.run([*command, "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_stages_run_alone_as_written(tmp_path: Path) -> None:
    for command in STAGES:
        done = subprocess.run([sys.executable, *command[1:]], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "clusters" / "clusters.json").exists()


def test_links_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert len(links) > 8
    for link in links:
        assert (ROOT / link).exists(), link


def test_tables_and_plots_are_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    readme = imported("readme", ROOT / "benchmarks" / "readme.py")
    assert len(readme.BLOCK.findall(README)) >= 5
    for page in readme.PAGES:
        assert readme.with_tables(page.read_text()) == page.read_text(), f"{page.name}: run `make results`"
    assert readme.COST_PLOT.read_text() == readme.cost_svg(readme.RESULTS), "run `make results`"


def test_a_row_stands_beside_the_papers_on_its_data_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    readme = imported("readme", ROOT / "benchmarks" / "readme.py")
    result = json.loads((readme.RESULTS / "cifar10-quick.json").read_text())
    lines = {line.split(" | ")[0].removeprefix("| "): line for line in readme.table(result).splitlines()}
    assert lines["MoIST, cnn router, k=2"].endswith("| 0.104 | 84.08 | 0.10 |")
    assert lines["Single student, same training budget"].endswith("| 0.104 | – | – |")
    twice = {**result, "n": 2, "runs": result["runs"] * 2}
    assert "± 0.00" in readme.table(twice)
    assert "paper" not in readme.table({**result, "dataset": "digits"})


def test_help_says_what_there_is() -> None:
    done = run_program("--help")
    assert done.returncode == 0
    for command in ("run", "compile"):
        assert command in done.stdout
