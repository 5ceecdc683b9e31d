"""Galleries in Chroma, through chromadb: embedded in this process, or on a Chroma server."""

from hotfill.extras import need

need("chromadb", "chroma")

from hotfill.stores.chroma.gallery import ChromaGallery  # noqa: E402  said above if missing

__all__ = ["ChromaGallery"]
