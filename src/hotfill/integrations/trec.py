"""TREC's files: judgements (qrels) and topics, and judgements by row as a rehearsal wants them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hotfill.errors import InputError
from hotfill.rehearsal.gallery_sample import read_qrels
from hotfill.text_files import read_text, text_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["qrels_by_row", "read_qrels", "read_topics"]

_TOPIC = re.compile(r"<top>(.*?)</top>", re.DOTALL | re.IGNORECASE)
_NUMBER = re.compile(r"<num>\s*(?:Number:)?\s*([^\s<]+)", re.IGNORECASE)
_TITLE = re.compile(r"<title>\s*(?:Topic:)?\s*(.*?)\s*(?=<|\Z)", re.DOTALL | re.IGNORECASE)


def read_topics(path: Path) -> dict[str, str]:
    """Read queries by id: lines of "id TAB text", or TREC's <top> blocks, of which the title.

    Raises InputError naming what does not fit.
    """
    blocks = _TOPIC.findall(read_text(path))
    pairs = [_of_block(block, path) for block in blocks] or _of_lines(path)
    topics = dict(pairs)
    if len(topics) < len(pairs):
        raise InputError(f"{path}: some topic stands there twice")
    if not topics:
        raise InputError(f"{path}: holds no topics")
    return topics


def qrels_by_row(
    qrels: Mapping[str, Mapping[str, float]], query_ids: Sequence[str], item_ids: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Name queries and items by their row, as `hotfill.rehearsal.comparison` wants them.

    query_ids, item_ids: of the rows. Judgements of queries or items that have no row are left out.
    Raises InputError when none is left.
    """
    queries = {query_id: str(row) for row, query_id in enumerate(query_ids)}
    items = {item_id: str(row) for row, item_id in enumerate(item_ids)}
    by_row = {
        queries[query_id]: {items[item]: grade for item, grade in judged.items() if item in items}
        for query_id, judged in qrels.items()
        if query_id in queries
    }
    by_row = {query: judged for query, judged in by_row.items() if judged}
    if not by_row:
        raise InputError("none of the judgements is about these queries and items")
    return by_row


def _of_block(block: str, path: Path) -> tuple[str, str]:
    number, title = _NUMBER.search(block), _TITLE.search(block)
    if number is None or title is None:
        raise InputError(f"{path}: a topic needs <num> and <title>, got {block.strip()[:60]!r}")
    return number[1], " ".join(title[1].split())


def _of_lines(path: Path) -> list[tuple[str, str]]:
    pairs = []
    for number, line in text_lines(path):
        topic, tab, query = line.partition("\t")
        if not tab or not topic.strip():
            raise InputError(f"{path}, line {number}: expected 'id TAB text', got {line[:60]!r}")
        pairs.append((topic.strip(), query.strip()))
    return pairs
