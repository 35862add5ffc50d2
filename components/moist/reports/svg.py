"""Drawing with matplotlib into SVG text that many figures of one page can share: the style, and the clean-up."""

import io
import re
import warnings
import xml.etree.ElementTree as ElementTree
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

SVG = "http://www.w3.org/2000/svg"
XLINK_HREF = "{http://www.w3.org/1999/xlink}href"
INK, MUTED, GRID = "#1f2933", "#66717d", "#d9dee3"
STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a class named "$x" is a name, not a formula
    "font.family": ["DejaVu Sans"],
    "font.size": 10.5,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.labelsize": 10.5,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "figure.facecolor": "none",
}


def style(name: str) -> AbstractContextManager[None]:
    """The look of all figures, and a salt that makes the ids of the figure of this name repeatable."""
    return mpl.rc_context(STYLE | {"svg.hashsalt": name})


def new_figure(width: float, height: float) -> Figure:
    """A figure whose SVG measures width x height pixels; its font sizes are pixels too."""
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    FigureCanvasSVG(figure)
    return figure


def axes_at(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes whose frame lies at these pixels, from the figure's upper left corner.

    Fixed places take half the time of matplotlib's layout engines, and figures of a kind line up on the page.
    """
    full_width, full_height = 72 * figure.get_size_inches()
    bottom = full_height - top - height
    return figure.add_axes((left / full_width, bottom / full_height, width / full_width, height / full_height))


def svg_text(figure: Figure, name: str) -> str:
    """The drawing as an svg element: no header, style sheet or metadata, size in pixels, ids prefixed with `name`."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A class name in a script that matplotlib's font lacks is drawn by the reader's own font.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(buffer.getvalue())
    _strip(root)
    _, _, width, height = root.attrib["viewBox"].split()
    root.attrib |= {"width": width, "height": height, "xmlns": SVG, "stroke-linejoin": "round"}
    attributes = " ".join(value for element in root.iter() for value in element.attrib.values())
    used = set(re.findall(r"#([\w-]+)", attributes))
    for element in root.iter():
        if XLINK_HREF in element.attrib:
            element.set("href", element.attrib.pop(XLINK_HREF))
        if element.attrib.get("id", name) not in used:
            element.attrib.pop("id", None)
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key in ("href", "clip-path"):
                element.set(key, re.sub(r"^(url\()?#", rf"\g<1>#{name}-", value))
    return ElementTree.tostring(root, encoding="unicode")


def _strip(parent: ElementTree.Element) -> None:
    """Drops what an inline figure has no use for: metadata, the style sheet (it would style the page), namespaces."""
    parent.tag = parent.tag.removeprefix(f"{{{SVG}}}")
    if parent.tag != "text":
        parent.text = None
    for child in list(parent):
        child.tail = None
        _strip(child)
        if child.tag in ("metadata", "style"):
            parent.remove(child)
