"""Galleries in index files: FAISS in memory, and an SQLite file beside it that nothing outlives."""

from hotfill.stores.index_files.gallery import IndexFilesGallery

__all__ = ["IndexFilesGallery"]
