"""Embeddings of all items by a model that is being trained."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from hotfill.lab.training.items import Items
from hotfill.types import Vectors


def embed(
    model: nn.Module, items: Items, *, device: str = "cpu", batch: int = 512, unit: bool = True
) -> Vectors:
    """Embed every item in order, in evaluation mode; the model's mode is put back afterwards.

    unit: bring rows to unit length. Returns float32 (n, dimension).
    """
    training = model.training
    model.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(items.item_ids), batch):
            rows = np.arange(start, min(start + batch, len(items.item_ids)))
            found = model(items(rows).to(device)).float()
            parts.append((nn.functional.normalize(found) if unit else found).cpu().numpy())
    model.train(training)
    return np.concatenate(parts)
