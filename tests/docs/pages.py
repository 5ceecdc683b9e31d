"""The pages, read as the tests need them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(
    r"^(?P<marks>(?:<!--[^\n]*-->\n)*)"
    r'```(?P<kind>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$',
    re.M | re.S,
)
_HEADING = re.compile(r"^#{1,6} +(.+?)\s*$", re.M)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A piece of code of a page. marks: comments right above it. title: the file it stands for."""

    kind: str
    text: str
    title: str | None
    marks: str


def pages() -> list[Path]:
    """Every page for users."""
    return [
        ROOT / "README.md",
        *sorted(DOCS.rglob("*.md")),
        *sorted(ROOT.glob("examples/*/README.md")),
    ]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@cache
def blocks(page: Path) -> tuple[Block, ...]:
    return tuple(
        Block(found["kind"], found["text"], found["title"], found["marks"])
        for found in _FENCE.finditer(page.read_text(encoding="utf-8"))
    )


@cache
def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def links(page: Path) -> list[str]:
    return _LINK.findall(prose(page))


@cache
def anchors(page: Path) -> frozenset[str]:
    """What a link may point to within a page: MkDocs' and GitHub's names of headings agree here."""
    names: list[str] = []
    for heading in _HEADING.findall(prose(page)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        name = re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", plain.lower()).strip())
        names.append(name if name not in names else f"{name}_{names.count(name)}")
    return frozenset(names)
