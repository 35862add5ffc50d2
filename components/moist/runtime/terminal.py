"""What the commands print: lines of progress on stderr, results on stdout, errors as one sentence."""

import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from moist.errors import DiskFullError, InputError, MoistError
from moist.reports.labels import printable

READER_GONE = 141


def exit_code_of(command: Callable[[], int | None]) -> int:
    """Run a command; its exit code, 0 for None. Errors are one sentence on stderr."""
    try:
        exit_code = command()
        sys.stdout.flush()
    except MoistError as error:
        say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        say("Interrupted. Finished tasks are kept: run the same command again to go on from there.")
        return 130
    except BrokenPipeError:
        # Whoever read what we print, for example `head`, has left; Python would complain again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        say(f"{where}{error.strerror or error}.")
        return DiskFullError.exit_code if error.errno in (errno.ENOSPC, errno.EDQUOT) else InputError.exit_code
    return exit_code or 0


def check_yaml(path: Path) -> None:
    """Raises InputError unless a pipeline can be written there: Kubeflow wants the ending .yaml."""
    if path.suffix not in (".yaml", ".yml"):
        raise InputError(f"--output {path} must end in .yaml.")
    path.parent.mkdir(parents=True, exist_ok=True)


def say(line: str) -> None:
    """A line of progress."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def show(text: str) -> None:
    """A command's result."""
    sys.stdout.write(text + "\n")


def shown(path: Path) -> str:
    """A path as short as it can be said from here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def columns(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of text under their headings, each column as wide as it needs."""
    lines = [list(headings), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(headings))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
