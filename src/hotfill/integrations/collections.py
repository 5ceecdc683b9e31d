"""The contents of items, read from the store that holds their vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hotfill.errors import ConfigError, SourceError
from hotfill.extras import need

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hotfill.stores.base import Gallery
    from hotfill.stores.layouts import Layout

_NODE = ("_node_content", "_node_type")
"""The keys under which LlamaIndex keeps a node."""


class StoredContents:
    """A `Source` that reads a field of the gallery itself.

    field: a column, a key of the payload or of the metadata; None for the one in which the
        framework that made the gallery keeps its texts. Of LlamaIndex's nodes the text is made as
        LlamaIndex makes it, with the metadata that go before it; this needs `llama-index-core`.
    Items whose field is empty have no content. Raises ConfigError where no field is known.
    """

    def __init__(self, gallery: Gallery, field: str | None = None) -> None:
        self._gallery = gallery
        layout = gallery.layout
        if field is None and layout is None:
            raise ConfigError(
                '[source] kind = "store" needs the field that holds the text, as in field = '
                '"document": no framework is known to have made this store'
            )
        theirs = layout is not None and field in (None, layout.content)
        self._nodes = layout if theirs and layout is not None and layout.nodes is not None else None
        self._field = field or (layout.content if layout is not None else "")

    def __call__(self, item_ids: Sequence[str], /) -> Mapping[str, Any]:
        """Read contents by item id. Raises StoreError, InputError, SourceError."""
        if self._nodes is not None:
            return self._texts_of_nodes(item_ids, self._nodes)
        found = self._gallery.stored(item_ids, [self._field])
        return {
            item_id: values[self._field]
            for item_id, values in found.items()
            if self._field in values
        }

    def _texts_of_nodes(self, item_ids: Sequence[str], layout: Layout) -> dict[str, str]:
        schema: Any = need("llama_index.core.schema", "llama-index")
        utils: Any = need("llama_index.core.vector_stores.utils", "llama-index")
        fields = [layout.content, *([layout.nodes] if layout.nodes else _NODE)]
        texts = {}
        for item_id, values in self._gallery.stored(item_ids, fields).items():
            kept = values.get(layout.nodes, {}) if layout.nodes else values
            if _NODE[0] not in kept:
                continue
            text = None if layout.content in _NODE else values.get(layout.content)
            try:
                node = utils.metadata_dict_to_node(kept, text=text)
                texts[item_id] = node.get_content(metadata_mode=schema.MetadataMode.EMBED)
            except (ValueError, TypeError, KeyError) as error:
                raise SourceError(
                    f"item {item_id!r} holds no node that LlamaIndex can read: {error}"
                ) from error
        return texts
