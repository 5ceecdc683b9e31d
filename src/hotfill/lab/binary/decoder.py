"""The linear decoder: from a code back to the direction it stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hotfill.binary.codes import grid_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hotfill.binary.recurrent import Recurrent
    from hotfill.types import Vectors

_MOST_ROWS = 50_000


def fit_decoder(rows: Vectors, recurrent: Recurrent) -> NDArray[np.float32]:
    """Fit the decoder of an encoder by ridge regression of rows on their codes.

    rows: float32 (n, prepared dimension), unit length; at most 50,000 are used.
    Returns float32 (prepared dimension, code dimension). Where there is an anchor, the fit is
    pulled towards its transpose, which is the grid's own decoder, else towards zero.
    """
    step = -(-len(rows) // _MOST_ROWS)
    rows = np.asarray(rows[::step], np.float64)
    values = grid_values(recurrent(rows.astype(np.float32)), recurrent.code_format)
    codes = values.astype(np.float64)
    prior = np.zeros((rows.shape[1], codes.shape[1]))
    if recurrent.anchor is not None:
        prior = recurrent.anchor.T.astype(np.float64)
        rebuilt = codes @ prior.T
        prior = prior * (np.sum(rebuilt * rows) / np.sum(rebuilt * rebuilt))
    moments = codes.T @ codes
    # A tenth of the rows' worth of belief in the prior; more when there are few rows.
    ridge = np.trace(moments) / len(moments) * max(0.1, len(moments) / len(rows))
    moments[np.diag_indices_from(moments)] += ridge
    change = np.linalg.solve(moments, codes.T @ (rows - codes @ prior.T))
    return np.ascontiguousarray(prior + change.T, np.float32)
