"""Fitting and training binary encoders (BEBR), and what `hotfill binarize` does.

Reading order: `start` and `choose` (fitting without training), `pairs`, `objective`, `network` and
`training` (training, which loads torch), `compatible` (across versions), `verbs` (the commands).
"""

from hotfill.lab.binary.agreement import Agreement, measure_agreement
from hotfill.lab.binary.choose import Fit, fit_encoder, formats_for
from hotfill.lab.binary.compatible import as_old_codes, fit_compatible_start, old_code_values
from hotfill.lab.binary.pairs import TrainingPairs, pairs_given, pairs_of_items, pairs_of_neighbours
from hotfill.lab.binary.start import fit_start
from hotfill.lab.binary.verbs import (
    binarize_apply,
    binarize_evaluate,
    binarize_fit,
    binarize_search,
    binarize_values,
)

__all__ = [
    "Agreement",
    "Fit",
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
