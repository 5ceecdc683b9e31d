"""Fitting and training binary encoders (BEBR), and what `hotfill binarize` does.

Reading order: `start` (encoders in closed form, pairs, old codes), `choice` (the best of several
starts), `network` and `training` (training, which loads torch), `files` (the commands).
"""

from hotfill.lab.binary.choice import (
    Agreement,
    ChosenEncoder,
    fit_encoder,
    formats_for,
    measure_agreement,
)
from hotfill.lab.binary.files import (
    binarize_apply,
    binarize_evaluate,
    binarize_fit,
    binarize_search,
    binarize_values,
)
from hotfill.lab.binary.start import (
    TrainingPairs,
    as_old_codes,
    fit_compatible_start,
    fit_start,
    old_code_values,
    pairs_given,
    pairs_of_items,
    pairs_of_neighbours,
)

__all__ = [
    "Agreement",
    "ChosenEncoder",
    "TrainingPairs",
    "as_old_codes",
    "binarize_apply",
    "binarize_evaluate",
    "binarize_fit",
    "binarize_search",
    "binarize_values",
    "fit_compatible_start",
    "fit_encoder",
    "fit_start",
    "formats_for",
    "measure_agreement",
    "old_code_values",
    "pairs_given",
    "pairs_of_items",
    "pairs_of_neighbours",
]
