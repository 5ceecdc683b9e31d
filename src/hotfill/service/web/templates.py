"""The templates, and the two pages that show nothing of an upgrade: the log-in and errors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hotfill import formatting

if TYPE_CHECKING:
    from collections.abc import Mapping

_environment = Environment(
    loader=PackageLoader("hotfill.service.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters.update(
    {
        name: getattr(formatting, name)
        for name in ("count", "rate", "percent", "milliseconds", "duration", "clock", "day")
    },
    moment=formatting.moment,
)


def coded(text: str) -> Markup:
    """Show as code what a message quotes by backticks."""
    parts = re.split(r"`([^`]+)`", text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else part
        for number, part in enumerate(parts)
    )


_environment.filters["coded"] = coded


def render(template: str, **values: Any) -> str:
    """Render a template by the name of its file."""
    return _environment.get_template(template).render(**values)


def login_page(*, failed: bool = False) -> str:
    """Render the page that asks for a token."""
    return render("login.html", failed=failed)


def error_page(problem: Mapping[str, Any]) -> str:
    """Render a problem document as a page, with a way back to the dashboard."""
    return render("error.html", problem=problem)
