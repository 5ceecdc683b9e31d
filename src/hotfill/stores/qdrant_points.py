"""How an item is a point, in Qdrant Edge and in a Qdrant collection alike.

One point per item; each space is a named vector, called by its fingerprint. In the payload stand
the user's metadata, and keys of hotfill's own:

_hotfill_id         the item's id (the point's is made from it). Not in an adopted collection.
_hotfill_version    the content version.
_hotfill_side       the fingerprint of the space where the item is searched.
_hotfill_made_by_*  the transform that made the vector of a space; without it the space's model did.
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from hotfill.stores.base import Range
from hotfill.stores.filters import alternatives

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hotfill.stores.base import Scalar, Where

_OURS = "_hotfill_"
ID, VERSION, SIDE = _OURS + "id", _OURS + "version", _OURS + "side"
_MADE_BY = _OURS + "made_by_"
_NAMESPACE = UUID("6f1f0a52-6a6c-5e0b-9f2c-7d0f3f4f9b11")
_LARGEST = sys.float_info.max


@lru_cache(maxsize=20_000)  # ids come again in scan, embed, move; a hash each time is felt
def hashed_id(item_id: str) -> UUID:
    """Return the point id of an item: the same in every process."""
    return uuid5(_NAMESPACE, item_id)


def made_by(space: str) -> str:
    """Return the payload key that names the transform behind the vector of a space."""
    return _MADE_BY + space


def payload(version: int, side: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Put together what is stored with the vectors of an item whose content is new."""
    return {**content, VERSION: version, SIDE: side}


def is_made_by(key: str) -> bool:
    """Tell whether a payload key names the transform behind a vector."""
    return key.startswith(_MADE_BY)


def is_ours(key: str) -> bool:
    """Tell whether hotfill put a payload key there."""
    return key.startswith(_OURS)


def path(*keys: str) -> str:
    """Return the engine's path to a value: in quotes, dots and brackets are part of a name."""
    return ".".join(f'"{key}"' for key in keys)


class FilterWords(ABC):
    """Says filters in the words of one engine's client.

    Their meaning is fixed in `hotfill.stores.filters`. One condition for all values of a kind: an
    engine that compares each point with each of a thousand conditions stands still for seconds.
    """

    def where(self, where: Where) -> Any:
        """Translate a checked filter."""
        return self.all_of([self._condition(key, wanted) for key, wanted in where.items()])

    def _condition(self, key: str, wanted: Scalar | Sequence[Scalar] | Range) -> Any:
        if isinstance(wanted, Range):
            low = -math.inf if wanted.at_least is None else wanted.at_least
            high = math.inf if wanted.at_most is None else wanted.at_most
            if low > _LARGEST or high < -_LARGEST:
                return self.any_of([])
            # JSON knows no infinity, and a range without any bound is best avoided.
            return self.between(key, max(low, -_LARGEST), min(high, _LARGEST))
        values = alternatives(wanted)
        conditions = []
        if texts := [value for value in values if isinstance(value, str)]:
            conditions.append(self.one_text_of(key, texts))
        if flags := [value for value in values if isinstance(value, bool)]:
            conditions.append(self.one_flag_of(key, flags))
        numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
        if numbers:
            conditions.append(self.one_number_of(key, numbers))
        return self.any_of(conditions)

    @abstractmethod
    def all_of(self, conditions: Sequence[Any]) -> Any:
        """Match what every condition matches."""

    @abstractmethod
    def any_of(self, conditions: Sequence[Any]) -> Any:
        """Match what one of the conditions matches; nothing if there is none."""

    @abstractmethod
    def between(self, key: str, low: float, high: float) -> Any:
        """Match numbers from `low` to `high`, both included and finite."""

    @abstractmethod
    def one_text_of(self, key: str, texts: Sequence[str]) -> Any:
        """Match one of some texts."""

    @abstractmethod
    def one_flag_of(self, key: str, flags: Sequence[bool]) -> Any:
        """Match one of some booleans."""

    @abstractmethod
    def one_number_of(self, key: str, numbers: Sequence[int | float]) -> Any:
        """Match one of some numbers; 3 and 3.0 are the same one."""


def shown(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the top level of a payload as far as it is metadata."""
    return {key: value for key, value in stored.items() if not key.startswith("_")}
