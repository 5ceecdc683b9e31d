"""Judges an answer of the service by plain arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hotfill.ranking import Fit

_TOLERANCE = 2e-3  # of a cosine, between the store's arithmetic and this one


class Oracle:
    """Knows the exact vectors of every item by both models.

    rows: contents, row i is "item-i". embedders: by fingerprint. fit: the folder of the fit.
    """

    def __init__(self, rows, old, new, fit: Path) -> None:
        self._old, self._new = old.model_id, new.model_id
        self._embedders = {each.model_id.fingerprint: each for each in (old, new)}
        self._vectors = {fingerprint: each(rows) for fingerprint, each in self._embedders.items()}
        self._fit = fit
        self._scorer = None

    def faults(self, answer: dict, content, k: int, must=None, may=None) -> list[str]:
        """Name everything that is wrong with an explained answer.

        must, may: by row, whether the item was there before it was asked, and whether it may have
        come before the answer; all of them by default.
        """
        everything = np.ones(len(self._vectors[self._old.fingerprint]), bool)
        must, may = (everything if each is None else each for each in (must, may))
        hits = answer["hits"]
        rows = np.array([int(hit["item_id"][5:]) for hit in hits])
        scores = np.array([hit["score"] for hit in hits])
        faults = []
        if len(hits) != k:
            faults.append(f"{len(hits)} hits instead of {k}")
        if len(set(rows.tolist())) != len(rows):
            faults.append("an item was returned twice")
        if np.any(np.diff(scores) > 0):
            faults.append("the hits are out of order")
        if not may[rows].all():
            faults.append("an item that nobody has written")
        query = self._embedders[answer["query_model"]]([content])
        if {hit["why"]["model"] for hit in hits} == {answer["query_model"]} and answer["phase"] in (
            "planned",
            "cut_over",
            "completed",
            "aborted",
            "rolled_back",
        ):
            return faults + self._one_side(answer["query_model"], query[0], rows, scores, must)
        return faults + self._two_sides(query, hits, rows, scores, k, must)

    def _one_side(self, model, query, rows, scores, must) -> list[str]:
        exact = self._vectors[model] @ query
        best = np.sort(exact[must])[::-1][: len(scores)]
        faults = []
        if np.abs(scores - exact[rows]).max() > _TOLERANCE:
            faults.append("a score is wrong")
        if (best - scores).max() > _TOLERANCE:
            faults.append("a better item is missing")
        return faults

    def _two_sides(self, query, hits, rows, scores, k, must) -> list[str]:
        if self._scorer is None:
            self._scorer = Fit.load(self._fit).scorer
        prepared = self._scorer.prepare(query)
        refined = prepared.refined[self._old]
        old = self._vectors[self._old.fingerprint]
        features = refined.bridge.gallery_features(old)
        comparable = {
            self._old.fingerprint: refined.calibrated(0, features @ refined.features[0]),
            self._new.fingerprint: self._vectors[self._new.fingerprint] @ query[0],
        }
        faults = [
            f"{hit['item_id']} scored {score:.4f}, exact {comparable[hit['why']['model']][row]:.4f}"
            for hit, row, score in zip(hits, rows, scores, strict=True)
            if abs(comparable[hit["why"]["model"]][row] - score) > _TOLERANCE
        ]
        # Which side an item was on is not known; one that wins on both must be there. Of the old
        # side only the best by the approximate score are looked at.
        searching = prepared.vectors[self._old].rows[0]
        raw = old @ (searching / np.linalg.norm(searching))
        depth = min(prepared.depth(k), len(raw))
        looked_at = raw >= np.partition(raw, -depth)[-depth]
        bound = scores[-1] + _TOLERANCE
        wins = must & looked_at & np.all([each > bound for each in comparable.values()], axis=0)
        missing = set(np.flatnonzero(wins).tolist()) - set(rows.tolist())
        return faults + [f"item-{row} is missing" for row in sorted(missing)]
