"""Draw items evenly from a gallery."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hotfill.upgrade.work.pages import pages_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.stores.base import Gallery
    from hotfill.types import ModelId


def sample_ids(gallery: Gallery, spaces: Sequence[ModelId], size: int, seed: int) -> list[str]:
    """Draw up to `size` items evenly from some sides, in one walk (reservoir sampling)."""
    rng = np.random.default_rng(seed)
    sample: list[str] = []
    seen = 0
    for page in (page for space in spaces for page in pages_of(gallery, space)):
        for item_id in page.item_ids:
            seen += 1
            if len(sample) < size:
                sample.append(item_id)
            elif (place := int(rng.integers(seen))) < size:
                sample[place] = item_id
    return sample
