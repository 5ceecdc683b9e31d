"""Which items are embedded first. An order gives each item a rank; the lowest goes first.

Orders read only what is stored already (ids, metadata, old vectors): one that looked at the new
embeddings would need what it is there to schedule.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hotfill.errors import ConfigError, InputError
from hotfill.text_files import text_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from hotfill.stores.base import Gallery, Page
    from hotfill.types import ModelId, Vectors
    from hotfill.upgrade.plan import Plan

    Ranks = NDArray[np.float64]


class Order(Protocol):
    """Ranks the items of a page."""

    def __call__(self, gallery: Gallery, page: Page, /) -> Ranks:
        """Return float64 (n,), lowest first."""
        ...


@dataclass(frozen=True, slots=True)
class RandomOrder:
    """A permutation that depends on the seed and the ids only: the same in every run."""

    seed: int

    def __call__(self, gallery: Gallery, page: Page) -> Ranks:
        """Hash each id."""
        salt = self.seed.to_bytes(8, "little", signed=True)
        digests = b"".join(
            hashlib.blake2b(item_id.encode(), digest_size=8, salt=salt).digest()
            for item_id in page.item_ids
        )
        return np.frombuffer(digests, dtype="<u8").astype(np.float64)


@dataclass(frozen=True, slots=True)
class PriorityOrder:
    """By a number in the metadata, highest first; items without one come last."""

    key: str

    def __call__(self, gallery: Gallery, page: Page) -> Ranks:
        """Read the metadata."""
        values = [
            state.metadata.get(self.key) if state is not None else None
            for state in gallery.get(page.item_ids)
        ]
        return np.array(
            [-float(v) if isinstance(v, int | float) else np.inf for v in values], dtype=np.float64
        )


@dataclass(frozen=True, slots=True)
class UncertaintyOrder:
    """By what the map between the models is least sure of, most uncertain first.

    uncertainty: takes old vectors (n, dimension), gives (n,), higher is less sure.
    """

    space: ModelId
    uncertainty: Callable[[Vectors], NDArray[np.floating]]

    def __call__(self, gallery: Gallery, page: Page) -> Ranks:
        """Read the old vectors."""
        found = gallery.vectors(page.item_ids, self.space)
        if not found.item_ids:
            return np.zeros(len(page.item_ids))
        rank_of = dict(zip(found.item_ids, -self.uncertainty(found.vectors), strict=True))
        return np.array([rank_of.get(item, 0.0) for item in page.item_ids], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class PopularityOrder:
    """By how often searches returned an item, most often first; the others come last.

    returned: how often, by item id; see `read_query_log`.
    """

    returned: Mapping[str, int]

    def __call__(self, gallery: Gallery, page: Page) -> Ranks:
        """Look each id up."""
        return np.array([-self.returned.get(item, 0) for item in page.item_ids], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class PopularityUncertaintyOrder:
    """By popularity times uncertainty: what is often shown and probably wrong goes first.

    popularity, uncertainty: the two orders. reference: uncertainties of some items, ascending.
    """

    popularity: PopularityOrder
    uncertainty: UncertaintyOrder
    reference: NDArray[np.float64]

    def __call__(self, gallery: Gallery, page: Page) -> Ranks:
        """Multiply."""
        returned, doubt = -self.popularity(gallery, page), -self.uncertainty(gallery, page)
        return -popularity_times_uncertainty(returned, doubt, self.reference)


def popularity_times_uncertainty(
    popularity: NDArray[np.floating],
    uncertainty: NDArray[np.floating],
    reference: NDArray[np.floating],
) -> NDArray[np.float64]:
    """Return how urgent items are: float64 (n,), higher is more urgent.

    popularity: (n,) >= 0, times returned; one is added, so that an item nobody saw still has its
        uncertainty.
    uncertainty: (n,); it has no unit, so it counts as the share of reference items that are surer.
    reference: (r,), uncertainties of reference items, ascending, r >= 1.
    """
    surer = (np.searchsorted(reference, uncertainty) + 1) / len(reference)
    return np.asarray((popularity + 1) * surer, dtype=np.float64)


def read_query_log(path: Path) -> Counter[str]:
    """Count how often each item was returned: a text file, one item id per returned hit.

    Memory grows with the number of different items returned, not with the log.
    Raises ConfigError when the file cannot be read.
    """
    try:
        return Counter(line.strip() for _, line in text_lines(path))
    except InputError as error:
        raise ConfigError(f"the query log: {error}") from error


# A walk over one side of a gallery, page by page -------------------------------------------------


Told: TypeAlias = "Callable[[int], None]"
"""Takes how many items are done so far."""


def pages_of(gallery: Gallery, space: ModelId, limit: int = 1000) -> Iterator[Page]:
    """Walk one side of a gallery, page by page."""
    cursor: str | None = None
    while True:
        page = gallery.scan(space, after=cursor, limit=limit)
        if page.item_ids:
            yield page
        cursor = page.cursor
        if cursor is None:
            return


# Draw items evenly from a gallery ----------------------------------------------------------------


def sample_ids(
    gallery: Gallery,
    spaces: Sequence[ModelId],
    size: int,
    seed: int,
    *,
    made_by: str | None = None,
    told: Told = lambda done: None,
) -> list[str]:
    """Draw up to `size` items evenly from some sides, in one walk (reservoir sampling).

    made_by: only items whose vector has this origin. told: how many items are looked at so far.
    """

    def walk() -> Iterator[str]:
        looked_at = 0
        for space in spaces:
            for page in pages_of(gallery, space):
                for item_id, origin in zip(page.item_ids, page.origins, strict=True):
                    if made_by in (None, origin):
                        yield item_id
                looked_at += len(page.item_ids)
                told(looked_at)

    return reservoir(walk(), size, seed)


def reservoir(item_ids: Iterable[str], size: int, seed: int) -> list[str]:
    """Draw up to `size` of ids evenly, however many come."""
    rng = np.random.default_rng(seed)
    sample: list[str] = []
    for seen, item_id in enumerate(item_ids, start=1):
        if len(sample) < size:
            sample.append(item_id)
        elif (place := int(rng.integers(seen))) < size:
            sample[place] = item_id
    return sample


# From a plan's word for an order to the order itself ---------------------------------------------

_REFERENCE_ITEMS = 1000  # enough to tell whether an item is among the more doubtful


def order_of(
    plan: Plan, gallery: Gallery, uncertainty: Callable[[Vectors], NDArray[np.floating]]
) -> Order:
    """Return the order that a plan names. Raises ConfigError when its query log cannot be read.

    uncertainty: see `UncertaintyOrder`.
    """
    match plan.order:
        case "random":
            return RandomOrder(plan.seed)
        case "priority":
            return PriorityOrder(plan.priority_key)
        case "popularity":
            return PopularityOrder(read_query_log(Path(plan.query_log)))
    uncertain = UncertaintyOrder(plan.old_model, uncertainty)
    if plan.order == "uncertainty":
        return uncertain
    ids = sample_ids(gallery, [plan.old_model], _REFERENCE_ITEMS, plan.seed)
    doubts = uncertainty(gallery.vectors(ids, plan.old_model).vectors)
    popularity = PopularityOrder(read_query_log(Path(plan.query_log)))
    return PopularityUncertaintyOrder(popularity, uncertain, np.sort(doubts))


def order_without_vectors(plan: Plan) -> Order:
    """Return the order that a plan names, where the old vectors are gone.

    Then nobody can tell how uncertain an item is: what is left of the order counts.
    """
    if "popularity" in plan.order:
        return PopularityOrder(read_query_log(Path(plan.query_log)))
    return PriorityOrder(plan.priority_key) if plan.order == "priority" else RandomOrder(plan.seed)
