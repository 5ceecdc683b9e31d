"""What a user writes beside the configuration file: where the content of an item comes from."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits


def pictures():
    """Handwritten digits and what they show: uint8 (1797, 8, 8), int64 (1797,)."""
    digits = load_digits()
    return (digits.images * 255 / 16).round().astype(np.uint8), digits.target


class Pictures:
    """Content by item id; the id is a row number."""

    def __call__(self, item_ids):
        images, _ = pictures()
        return {item_id: images[int(item_id)] for item_id in item_ids}
