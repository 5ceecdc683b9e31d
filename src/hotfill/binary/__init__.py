"""Binary embeddings: small codes for float vectors, fast search among them, upgrades of both.

Reading order: `codes` (what a code is), `recurrent` and `encoder` (how one is made), `scan`,
`rerank` and `index` (search), `embedder` (upgrades). Encoders are fitted in `hotfill.lab.binary`.
"""

from hotfill.binary.code_file import CodeFileWriter, Codes, read_codes, write_codes
from hotfill.binary.codec import GridCodec
from hotfill.binary.codes import CodeFormat
from hotfill.binary.embedder import Binarisation, BinaryEmbedder
from hotfill.binary.encoder import BinaryEncoder
from hotfill.binary.encoder_file import load_encoder, save_encoder
from hotfill.binary.index import CodeIndex
from hotfill.binary.index_file import load_index, save_index
from hotfill.binary.rerank import CodeHits, rerank_by_floats
from hotfill.binary.scores import asymmetric_scores, symmetric_scores

__all__ = [
    "Binarisation",
    "BinaryEmbedder",
    "BinaryEncoder",
    "CodeFileWriter",
    "CodeFormat",
    "CodeHits",
    "CodeIndex",
    "Codes",
    "GridCodec",
    "asymmetric_scores",
    "load_encoder",
    "load_index",
    "read_codes",
    "rerank_by_floats",
    "save_encoder",
    "save_index",
    "symmetric_scores",
    "write_codes",
]
