"""Galleries in Milvus, through pymilvus; also in Milvus Lite, which runs in this process."""

from hotfill.extras import need

need("pymilvus", "milvus")

from hotfill.stores.milvus.gallery import MilvusGallery  # noqa: E402  said above if missing

__all__ = ["MilvusGallery"]
