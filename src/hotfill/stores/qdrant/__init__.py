"""Galleries in a Qdrant server, through qdrant-client; also in that client's own local engine."""

from hotfill.extras import need

need("qdrant_client", "qdrant")

from hotfill.stores.qdrant.gallery import QdrantGallery  # noqa: E402  said above if missing

__all__ = ["QdrantGallery"]
