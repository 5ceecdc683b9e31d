"""Binary embeddings: small codes for float vectors, fast search among them, upgrades of both.

Reading order: `codes` (what a code is), `recurrent` and `encoder` (how one is made), `start` and
`choose` (fitting), `scan`, `rerank` and `index` (search), `compatible` and `embedder` (upgrades).
Training needs the extra `train` and lives in `hotfill.binary.training`, which loads torch.
"""

from hotfill.binary.agreement import Agreement, measure_agreement
from hotfill.binary.choose import Fit, fit_encoder, formats_for
from hotfill.binary.code_file import CodeFileWriter, Codes, read_codes, write_codes
from hotfill.binary.codec import GridCodec
from hotfill.binary.codes import CodeFormat
from hotfill.binary.compatible import as_old_codes, fit_compatible_start, old_code_values
from hotfill.binary.embedder import Binarisation, BinaryEmbedder
from hotfill.binary.encoder import BinaryEncoder
from hotfill.binary.encoder_file import load_encoder, save_encoder
from hotfill.binary.index import CodeIndex
from hotfill.binary.index_file import load_index, save_index
from hotfill.binary.pairs import (
    TrainingPairs,
    pairs_given,
    pairs_of_items,
    pairs_of_neighbours,
)
from hotfill.binary.rerank import CodeHits, rerank_by_floats
from hotfill.binary.scores import asymmetric_scores, symmetric_scores
from hotfill.binary.start import fit_start
from hotfill.binary.verbs import (
    binarize_apply,
    binarize_evaluate,
    binarize_fit,
    binarize_search,
    binarize_values,
)

__all__ = [
    "Agreement",
    "Binarisation",
    "BinaryEmbedder",
    "BinaryEncoder",
    "CodeFileWriter",
    "CodeFormat",
    "CodeHits",
    "CodeIndex",
    "Codes",
    "Fit",
    "GridCodec",
    "TrainingPairs",
    "as_old_codes",
    "asymmetric_scores",
    "binarize_apply",
    "binarize_evaluate",
    "binarize_fit",
    "binarize_search",
    "binarize_values",
    "fit_compatible_start",
    "fit_encoder",
    "fit_start",
    "formats_for",
    "load_encoder",
    "load_index",
    "measure_agreement",
    "old_code_values",
    "pairs_given",
    "pairs_of_items",
    "pairs_of_neighbours",
    "read_codes",
    "rerank_by_floats",
    "save_encoder",
    "save_index",
    "symmetric_scores",
    "write_codes",
]
