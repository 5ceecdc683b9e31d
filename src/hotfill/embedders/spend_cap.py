"""A limit on the money that an embedder spends, kept in a file so that no restart forgets it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from hotfill.embedders.shared_file import shared_file
from hotfill.errors import ConfigError, EmbedError
from hotfill.sqlite import TableLayout

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PriceUnit: TypeAlias = Literal["tokens", "items"]

_LAYOUT = TableLayout(
    application=0x68667370,  # "hfsp"
    form=0,
    tables="""
CREATE TABLE spent (only INTEGER PRIMARY KEY CHECK (only = 0), amount REAL);
INSERT INTO spent VALUES (0, 0)
""",
)
# A tokeniser makes at most one token of a byte, and a few that mark beginning and end.
_TOKENS_BESIDE_TEXT = 8
_BYTES_OF_A_TOKEN = 4


class SpendCap:
    """Says before each request whether it may still be paid, and notes what it did cost.

    path: the file that holds the sum; every process that names it shares the cap.
    cap: the most that may be spent, > 0, in the currency of the price.
    per_1000: price of 1,000 units, >= 0. unit: what is counted, tokens or items (texts).

    Before a request its highest possible price is reserved (a token for every byte); afterwards
    the true price replaces it. So the cap is never passed, also by many processes at once, and of
    the cap at most the price of one request is left unused. What a killed process had reserved
    stays counted.
    """

    def __init__(
        self, path: Path, *, cap: float, per_1000: float, unit: PriceUnit = "tokens"
    ) -> None:
        if not cap > 0 or not per_1000 >= 0:
            raise ConfigError(
                f"a spend cap must be > 0 and a price >= 0, got cap {cap} and {per_1000} per 1,000"
            )
        if unit not in get_args(PriceUnit):
            raise ConfigError(f"the unit of a price is tokens or items, got {unit!r}")
        self.cap = cap
        self._per_1000 = per_1000
        self._unit = unit
        self.counts_items = unit == "items"
        self._file = shared_file(path, "spend cap's file", _LAYOUT)

    @property
    def spent(self) -> float:
        """The sum so far, with what is reserved for requests under way."""
        return float(self._file.read("SELECT amount FROM spent")[0][0])

    def reserve(self, texts: Sequence[str]) -> float:
        """Set aside the highest possible price of a request and return it.

        Raises EmbedError when the cap does not allow it; then nothing was spent.
        """
        most = self.price(
            items=len(texts),
            tokens=sum(len(text.encode()) + _TOKENS_BESIDE_TEXT for text in texts),
        )
        with self._file.transaction() as db:
            (spent,) = db.execute("SELECT amount FROM spent").fetchone()
            if spent + most > self.cap:
                raise EmbedError(
                    f"the spend cap of {self.cap:g} does not allow another request: {spent:.6g} is "
                    f"spent or reserved and {len(texts)} texts may cost {most:.6g}; nothing was "
                    "sent: raise the cap and go on, what is done stays done"
                )
            db.execute("UPDATE spent SET amount = amount + ?", (most,))
        return most

    def settle(self, reserved: float, price: float) -> None:
        """Replace what was reserved by what it did cost; 0 when the request was not answered."""
        with self._file.transaction() as db:
            db.execute("UPDATE spent SET amount = max(0, amount + ?)", (price - reserved,))

    def price(self, *, items: int, tokens: int) -> float:
        """Tell what a number of items and tokens cost."""
        return (tokens if self._unit == "tokens" else items) * self._per_1000 / 1000

    def estimate(self, texts: Sequence[str]) -> float:
        """Tell about what texts cost: a token is taken for four bytes, as in English."""
        tokens = sum(len(text.encode()) // _BYTES_OF_A_TOKEN + 1 for text in texts)
        return self.price(items=len(texts), tokens=tokens)

    def close(self) -> None:
        """Release the file. Idempotent."""
        self._file.close()
