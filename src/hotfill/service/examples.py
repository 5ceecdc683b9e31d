"""One example of each call of the API: what is sent and what comes back. A test sends them all.

They stand in the description of the API (`/openapi.json`) and on its page (`/docs`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_OLD, _NEW = "a986f247f8e5", "446fcfc28c1d"

_STATUS = {
    "phase": "backfilling",
    "holds": [],
    "items": 752_865,
    "moved": 595_700,
    "share": 0.791,
    "next_steps": ["pause", "abort"],
    "run": {
        "step": "start",
        "by": "anna",
        "began_at": 1_764_450_000.0,
        "ended_at": None,
        "error": None,
        "result": None,
        "running": True,
    },
}
"""The most telling fields of a status; the answer has all of them."""


@dataclass(frozen=True, slots=True)
class Example:
    """body: what is sent; None for no body. answer: what comes back, or its most telling fields."""

    answer: Any
    body: Any = None


_ITEM = {
    "item_id": "b-17",
    "content": "a red bicycle",
    "metadata": {"shop": 3, "price": 199.0},
}

EXAMPLES: dict[tuple[str, str], Example] = {
    ("PUT", "/items"): Example({"items": 1}, {"items": [_ITEM]}),
    ("PATCH", "/items"): Example(
        {"items": 1}, {"items": [{"item_id": "b-17", "metadata": {"shop": 4, "price": 149.0}}]}
    ),
    ("GET", "/items/{item_id}"): Example(
        {
            "item_id": "b-17",
            "side": "new",
            "model": _NEW,
            "made_by": _NEW,
            "version": 1,
            "metadata": {"shop": 4, "price": 149.0},
        }
    ),
    ("POST", "/search"): Example(
        {
            "hits": [
                {
                    "item_id": "b-17",
                    "score": 0.83,
                    "why": {"side": "imputed", "model": _NEW, "raw_score": 0.83},
                }
            ],
            "phase": "backfilling",
            "query_model": _NEW,
            "coverage": 0.41,
        },
        {
            "content": "a red bicycle",
            "k": 5,
            "where": {"shop": [3, 4], "price": {"at_most": 200}},
            "explain": True,
        },
    ),
    ("GET", "/models"): Example(
        {
            "models": {
                _OLD: {"name": "clip-old", "revision": "1", "dimension": 256},
                _NEW: {"name": "clip-new", "revision": "2", "dimension": 512},
            },
            "old": _OLD,
            "new": _NEW,
            "query": _NEW,
            "phase": "backfilling",
        }
    ),
    ("DELETE", "/items/{item_id}"): Example({"items": 1}),
    ("POST", "/items/delete"): Example({"items": 1}, {"item_ids": ["b-17", "b-18"]}),
    ("GET", "/upgrade"): Example(_STATUS),
    ("POST", "/upgrade/start"): Example(_STATUS, {"retry_dead_letters": False, "more": False}),
    ("POST", "/upgrade/pause"): Example(_STATUS),
    ("POST", "/upgrade/resume"): Example(_STATUS, {"accept_gate": False}),
    ("POST", "/upgrade/verify"): Example(_STATUS),
    ("POST", "/upgrade/cutover"): Example(_STATUS),
    ("POST", "/upgrade/rollback"): Example(_STATUS),
    ("POST", "/upgrade/abort"): Example(_STATUS),
    ("POST", "/upgrade/complete"): Example(
        _STATUS, {"confirmation_token": "sR0v1z2nq3o4yW5e6t7i8A"}
    ),
    ("GET", "/upgrade/rehearsal"): Example(
        {"truth": "labels", "old": {"map": 0.435}, "new": {"map": 0.675}}
    ),
    ("GET", "/health"): Example({"status": "ok"}),
    ("GET", "/ready"): Example({"status": "ok"}),
    ("GET", "/metrics"): Example("hotfill_coverage_ratio 0.791\n"),
}
