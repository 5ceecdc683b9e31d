"""A process of an upgrade that embeds texts by a server: python limit_child.py JOURNAL URL BATCH.

Prints how many texts its embedder sends at once in the end.
"""

import sys
from contextlib import closing
from pathlib import Path

from hotfill.embedders import HttpEmbedder
from hotfill.types import ModelId
from hotfill.upgrade.journal.sqlite import SqliteJournal
from hotfill.upgrade.request_limits import share_limit

MODEL = ModelId("paid", "1", 8)


def main(journal, url, batch_size):
    embedder = HttpEmbedder(url, MODEL, batch_size=int(batch_size), tries=1)
    with closing(SqliteJournal(Path(journal))) as opened, closing(embedder):
        share_limit(embedder, opened)
        embedder([f"text {n}" for n in range(100)])
        print(embedder._limit.most)


if __name__ == "__main__":
    main(*sys.argv[1:])
