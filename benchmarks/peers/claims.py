"""What each tool says that it can do: yes, no, or not found in its documents and its source.

Read in the packages named in `environments.py`: README, docstrings, command line. Where a run of
ours showed it, the page says so next to the figures.
"""

from __future__ import annotations

TOOLS = ("hotfill", "isotrieve", "vecshift", "embedflow", "vectormigrate")

CLAIMS: dict[str, tuple[str, str, str, str, str]] = {
    "the new model answers before every item is re-embedded": (
        "yes",
        "yes: its queries are mapped to the old space",
        "no",
        "yes: it ranks what the old index finds",
        "yes: two encodings, rank fusion",
    ),
    "ends with the new model's own vectors in an index": (
        "yes",
        "no: with mapped ones",
        "yes",
        "no: a cache behind the old index",
        "yes",
    ),
    "old model and old index can go at the end": ("yes", "yes", "yes", "no", "yes"),
    "way back before the switch": ("yes", "yes", "yes", "yes: nothing is changed", "yes"),
    "way back after the switch": (
        "yes, until `complete`",
        "no (pgvector: the old column is dropped)",
        "yes, until `cleanup`",
        "yes: nothing is changed",
        "yes",
    ),
    "writes during the upgrade": (
        "yes",
        "not found",
        "yes: a trigger",
        "yes: they go to the old index",
        "no: a state of the plan, no write path",
    ),
    "the application's own SQL sees the new vectors right after the switch": (
        "**no: after `complete`; before, searches go through hotfill**",
        "yes",
        "yes",
        "no: searches go through embedflow",
        "no: its store is in memory",
    ),
    "upgrade without contents": (
        "yes",
        "yes: that is what it is for",
        "no",
        "no",
        "for models of one dimension: maps",
    ),
    "the next upgrade begins where some items are only mapped": (
        "yes",
        "not found",
        "no items are",
        "not found",
        "not found",
    ),
    "limit on what is embedded or spent": (
        "yes",
        "an estimate",
        "yes, in money",
        "yes, in documents, bytes, seconds",
        "not found",
    ),
    "measured before anything is written": (
        "yes: `rehearse`",
        "yes: `gate`",
        "yes: `bench`; `eval` after embedding",
        "yes: `analyze`, shadow mode",
        "no: after the backfill",
    ),
    "compares several new models on your data": (
        "**no: one at a time**",
        "no",
        "yes: `bench`",
        "no",
        "no",
    ),
    "several machines embed for one upgrade": (
        "yes",
        "not found",
        "no: one `apply` at a time",
        "not found (one SQLite queue)",
        "not found",
    ),
    "binary codes": ("yes", "not found", "no (half precision: yes)", "not found", "not found"),
    "dashboard": ("yes", "no (reports)", "no (reports)", "yes", "no (reports)"),
    "hosted stores: Pinecone, Weaviate": ("**no**", "Pinecone", "no", "yes, both", "no"),
    "on the package index": ("**no**", "yes", "yes", "yes", "yes"),
    "licence": ("Apache-2.0", "Apache-2.0", "Apache-2.0", "AGPL-3.0", "MIT"),
}
