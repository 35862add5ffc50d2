"""What all HTML pages share: templates filled in, numbered drawings, and tables of text."""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from moist.reports.labels import printable


@dataclass(frozen=True)
class Figure:
    """A drawing with its caption, and the words that stand for it where it cannot be seen."""

    svg: Markup
    caption: str
    alt: str
    note: str = ""
    width: int = field(init=False)

    def __post_init__(self) -> None:
        match = re.match(r'<svg width="([\d.]+)"', self.svg)
        object.__setattr__(self, "width", round(float(match[1])) if match else 0)


@dataclass(frozen=True)
class Table:
    """Headings and rows of text; the first cell of a row names it. `marks` are CSS classes, one a row."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    marks: Sequence[str] = ()
    numbers: bool = True


class Drawing:
    """Draws figures with a name each that no other figure on the page has."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def __call__(self, caption: str, alt: str, plot: Callable[..., str], *content: Any, note: str = "") -> Figure:
        """What `plot(*content, name)` draws; plots escape every text they draw, so it is safe to include as it is."""
        return Figure(Markup(plot(*content, f"fig{next(self._numbers)}")), printable(caption), printable(alt), note)


def document(template: str, content: dict[str, Any], filters: Mapping[str, Callable[..., Any]] | None = None) -> str:
    """A page as one self-contained HTML text; the same content gives the same text."""
    environment = Environment(
        loader=PackageLoader("moist.reports", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(printable=printable, **(filters or {}))
    return environment.get_template(template).render(content)
