"""The error of a training whose numbers are no longer finite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hotfill.errors import HotfillError


class DivergedError(HotfillError):
    """A loss or gradient became NaN or infinite; training stopped before that step was taken.

    terms: names of the recipe's parts that are not finite, or "backbone" for the embeddings.
    step: of the whole training, from 0. checkpoint: the last good one, None if there was none yet.
    """

    def __init__(self, terms: Sequence[str], step: int, checkpoint: Path | None) -> None:
        self.terms, self.step, self.checkpoint = tuple(terms), step, checkpoint
        kept = f"the last good checkpoint is {checkpoint}" if checkpoint else "nothing was saved"
        super().__init__(
            f"expected finite losses and gradients, got NaN or infinite ones from "
            f"{', '.join(self.terms)} in step {step}; {kept}: lower the learning rate or that "
            "part's weight, or set clip, and train again"
        )
