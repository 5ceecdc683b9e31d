"""Codes in a gallery: any store, with the vectors of some spaces kept as a few bytes each."""

from hotfill.stores.coded.codec import Codec, CodeScan
from hotfill.stores.coded.gallery import CodedGallery

__all__ = ["CodeScan", "Codec", "CodedGallery"]
