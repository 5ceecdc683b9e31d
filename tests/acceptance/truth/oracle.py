"""Knows every write that was acknowledged, and judges answers and vectors by them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tests.acceptance.truth.shop import content

Imputer = Callable[[list[np.ndarray]], np.ndarray]
"""Gives the imputed vectors of contents."""


@dataclass(slots=True)
class Write:
    """One write of an item. version: 0 for a delete.

    ended: when it was acknowledged; of one that never was, the last moment that it may have come.
    sure: whether it came.
    """

    version: int
    began: float
    ended: float = float("inf")
    sure: bool = False


@dataclass(slots=True)
class Judged:
    """What was wrong, in numbers of items; examples of it for people."""

    lost: int = 0
    doubled: int = 0
    resurrected: int = 0
    stale: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def faultless(self) -> bool:
        return not (self.lost or self.doubled or self.resurrected or self.stale)

    def add(self, name: str, items, why: str = "") -> None:
        items = list(items)
        if items:
            setattr(self, name, getattr(self, name) + len(items))
            self.examples.append(f"{name} {len(items)}: {items[:3]} {why}".strip())


class Oracle:
    """Of one gallery. Times are of one clock for all processes of a machine (`time.monotonic`).

    models: what may have made its vectors.
    """

    def __init__(self, models=()) -> None:
        self._models = models
        self._writes: dict[str, list[Write]] = {}

    # What happened ---------------------------------------------------------------------------

    def begin(self, item_id: str, version: int, at: float) -> Write:
        write = Write(version, at)
        self._writes.setdefault(item_id, []).append(write)
        return write

    def acknowledge(self, item_id: str, version: int, at: float) -> None:
        write = next(
            each
            for each in reversed(self._writes[item_id])
            if each.version == version and each.ended == float("inf")
        )
        write.ended, write.sure = at, True

    def newest(self, item_id: str) -> int:
        """The highest version that was ever begun."""
        return max((each.version for each in self._writes.get(item_id, ())), default=0)

    @property
    def item_ids(self) -> list[str]:
        return list(self._writes)

    @property
    def untouched(self) -> set[str]:
        """Items that were there from the beginning, and never written again or deleted."""
        return {i for i, writes in self._writes.items() if len(writes) == 1 and not writes[0].began}

    def doubt_since(self, at: float) -> None:
        """What was acknowledged after a moment may be gone: a power cut, or an older backup.

        What was deleted since may be there again, and what was written since may be as before.
        """
        for writes in self._writes.values():
            for write in writes:
                write.sure &= write.ended <= at

    # What must be so -------------------------------------------------------------------------

    def _possible(self, item_id: str, began: float, ended: float) -> set[int]:
        """Versions that the item may have for somebody who looks in that time; 0: not there.

        Of writes that overlap either may be the last; what ended before a sure one began is over.
        """
        writes = self._writes.get(item_id, ())
        sure = [each.began for each in writes if each.sure and each.ended < began]
        over = max(sure, default=-1.0)
        possible = {each.version for each in writes if each.began <= ended and each.ended >= over}
        return possible if sure else possible | {0}

    def _history(self, item_ids: Sequence[str], now: float) -> str:
        """Tell the writes of the first item, for people: version, began, ended, whether it came."""
        writes = self._writes.get(item_ids[0], ()) if item_ids else ()
        return str(
            [(w.version, round(w.began - now, 2), round(w.ended - now, 2), w.sure) for w in writes]
        )

    def judge_answer(self, found: list[str], began: float, ended: float) -> Judged:
        """Judge a search that asked for every item."""
        judged = Judged()
        counted = Counter(found)
        judged.add("doubled", (item for item, n in counted.items() if n > 1))
        lost, resurrected = [], []
        for item_id in list(self._writes):
            possible = self._possible(item_id, began, ended)
            if item_id in counted:
                if possible == {0}:
                    resurrected.append(item_id)
            elif 0 not in possible:
                lost.append(item_id)
        judged.add("lost", lost, self._history(lost, began))
        judged.add("resurrected", resurrected, self._history(resurrected, began))
        judged.add("resurrected", counted.keys() - self._writes.keys())
        return judged

    def judge_gallery(
        self, gallery, now: float, imputers: Mapping[str, Imputer] | None = None
    ) -> Judged:
        """Look at every item: where it is, and whether its vectors are of a version it may have.

        imputers: by origin. Of other imputed vectors nothing is known.
        """
        judged = Judged()
        ids = list(self._writes)
        states = dict(zip(ids, gallery.get(ids), strict=True))
        possible = {item_id: self._possible(item_id, now, now) for item_id in ids}
        judged.add("lost", (i for i in ids if states[i] is None and 0 not in possible[i]))
        judged.add("resurrected", (i for i in ids if states[i] is not None and possible[i] == {0}))
        for model in self._models:
            if (space := model.model_id) not in gallery.spaces:
                continue
            here = [i for i in ids if states[i] is not None and states[i].space == space]
            found = gallery.vectors(here, space)
            vectors = dict(zip(found.item_ids, found.vectors, strict=True))
            judged.add("lost", (i for i in here if i not in vectors), "no vector")
            # Whoever restores an older store has older versions there, until they are embedded.
            asked = {
                i: [
                    v
                    for v in range(1, self.newest(i) + 1)
                    if v in possible[i] or v == max(possible[i])
                ]
                for i in vectors
            }
            for origin, make in {**(imputers or {}), space.fingerprint: model}.items():
                rows = [
                    (i, v)
                    for i, versions in asked.items()
                    for v in versions
                    if states[i].origin == origin
                ]
                if not rows:
                    continue
                made = _unit(np.asarray(make([content(i, v) for i, v in rows])))
                right: dict[str, bool] = {}
                for (i, _), direct in zip(rows, made, strict=True):
                    close = bool(np.allclose(_unit(vectors[i]), direct, atol=1e-3))
                    right[i] = right.get(i, False) or close
                stale = [i for i, ok in right.items() if not ok]
                judged.add("stale", stale, self._history(stale, now))
        return judged


def _unit(rows: np.ndarray) -> np.ndarray:
    """Codes and imputed vectors have any length."""
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)
