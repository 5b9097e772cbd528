"""report.html: one file without any request, light and dark, for screens of all widths and for paper."""

from __future__ import annotations

import base64
import re

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from ccar.reports.content import Content
from ccar.reports.neutralise import lines_of, one_line

_JOINT = re.compile(r"(?<=[_+,/])(?=\S)|(?<=\S)(?=\()")


def render_html(content: Content, svgs: dict[str, bytes]) -> str:
    """The report as a web page.

    Args:
        content: what to show.
        svgs: the figures by name; embedded as images, so that their identifiers cannot clash.
    """
    environment = Environment(
        loader=PackageLoader("ccar.reports"),
        undefined=StrictUndefined,
        finalize=lambda value: one_line(value) if type(value) is str else value,  # safe mark-up is no plain str
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["breakable"] = _breakable
    environment.filters["file"] = lambda text: Markup(escape("\n".join(lines_of(text))))
    images = {name: f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}" for name, svg in svgs.items()}
    return environment.get_template("report.html.jinja").render(content=content, images=images)


def _breakable(text: str) -> Markup:
    """`text`, which a narrow column may break after a joint of a method's name, and not inside its words."""
    return Markup(_JOINT.sub("<wbr>", str(escape(one_line(text)))))
