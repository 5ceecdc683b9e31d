"""The description of the API as a page: each call with its words, an example and its answer.

FastAPI's own pages load scripts from other hosts, which the content security policy forbids, and a
service may have no way out.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hotfill._version import __version__
from hotfill.service.web.templates import render

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One call as it is shown. parts: paragraphs. problems: other statuses with what they mean."""

    id: str
    method: str
    path: str
    summary: str
    parts: tuple[str, ...]
    command: str
    status: str
    answer: str
    problems: tuple[tuple[str, str], ...]


def api_page(described: Mapping[str, Any], address: str) -> str:
    """Render the description of the API. address: of this service, for the examples."""
    groups: dict[str, list[ApiCall]] = {}
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            call = _call(method.upper(), path, operation, address)
            groups.setdefault(operation["tags"][0], []).append(call)
    first = next(iter(groups.values()))[0].id
    return render("api.html", groups=list(groups.items()), first=first, version=__version__)


def _call(method: str, path: str, operation: Mapping[str, Any], address: str) -> ApiCall:
    said = operation.get("description", operation.get("summary", ""))
    first, _, rest = said.partition("\n\n")
    answers = operation["responses"]
    status = next(each for each in answers if each < "300")
    (media,) = answers[status]["content"].values()
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return ApiCall(
        id=operation["operationId"],
        method=method,
        path=path,
        summary=" ".join(first.split()),
        parts=tuple(" ".join(part.split()) for part in rest.split("\n\n") if part.strip()),
        command=_command(method, path, body.get("example"), address),
        status=status,
        answer=_text(media["example"]),
        problems=tuple(
            (number, each["description"]) for number, each in answers.items() if number >= "300"
        ),
    )


def _command(method: str, path: str, body: Any, address: str) -> str:
    """Return a command line that sends the example."""
    words = ["curl"] if method in ("GET", "POST") else ["curl", "-X", method]
    if method == "POST" and body is None:
        words += ["-X", "POST"]
    words.append(address + path.replace("{item_id}", "b-17"))
    line = shlex.join(words)
    if body is not None:
        sent = shlex.quote(json.dumps(body, ensure_ascii=False))
        line += f" -H 'Content-Type: application/json' \\\n  -d {sent}"
    return line


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
