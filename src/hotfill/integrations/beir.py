"""A folder in BEIR's layout: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hotfill.errors import InputError
from hotfill.integrations.jsonl import JsonlReader
from hotfill.rehearsal.gallery_sample import read_qrels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hotfill.integrations.items import ItemBatch


@dataclass(frozen=True, slots=True)
class BeirFolder:
    """Corpus, queries and judgements of a retrieval test set. Files may end in .gz, but for qrels.

    The content of an item is its title and text, joined by a blank.
    """

    path: Path

    def batches(self, size: int = 256, /) -> Iterator[ItemBatch]:
        """Yield the corpus. Raises InputError naming the line that does not fit."""
        corpus = self._file("corpus.jsonl")
        yield from JsonlReader(corpus, "_id", ("title", "text")).batches(size)

    def queries(self) -> dict[str, str]:
        """Read all queries, by id. Raises InputError."""
        reader = JsonlReader(self._file("queries.jsonl"), "_id", "text")
        return {
            query_id: text
            for batch in reader.batches()
            for query_id, text in zip(batch.item_ids, batch.contents, strict=True)
        }

    def qrels(self, split: str = "test") -> dict[str, dict[str, float]]:
        """Read the judgements of a split: {query: {item: grade}}. Raises InputError."""
        return read_qrels(self.path / "qrels" / f"{split}.tsv")

    def _file(self, name: str) -> Path:
        for path in (self.path / name, self.path / f"{name}.gz"):
            if path.exists():
                return path
        raise InputError(f"{self.path}: expected {name} or {name}.gz; is it a folder of BEIR?")
