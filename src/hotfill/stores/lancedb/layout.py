"""Which column of a table means what: read from the table's own schema, where the stamps stand.

The stamp of a space is metadata of the column that holds its vectors, so that a column and its
stamp come and go in one commit. Columns that hotfill adds:

hotfill_version  int64. The content version.
hotfill_space    text. The fingerprint of the space where the item is searched; empty for a row of
                 an adopted table that had no vector.
hotfill_origin   text. What made the searched vector.

A metadata key has a column for each kind of value that it ever had: a text, a whole number, a real
number, a flag. Columns of an adopted table keep their names; in one of structs a dot in a key goes
one level down (`metadata.source`). Columns of other types are neither shown nor changed.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hotfill.errors import StoreError
from hotfill.extras import need
from hotfill.stores.lancedb.client import translated
from hotfill.types import Metric, ModelId

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hotfill.stores.base import Metadata, Scalar


need("lancedb", "lancedb")  # brings pyarrow
pa = need("pyarrow", "lancedb")

VERSION, SPACE, ORIGIN = "hotfill_version", "hotfill_space", "hotfill_origin"
OWN = (VERSION, SPACE, ORIGIN)
MODEL_NOTE, NUMBER_NOTE = "hotfill:model", "hotfill:number"
ROLE_NOTE, KEY_NOTE, CEILING_NOTE = "hotfill:role", "hotfill:key", "hotfill:ceiling"
ID_ROLE = "id"

KINDS: Mapping[str, Any] = {
    "text": pa.string(),
    "whole": pa.int64(),
    "real": pa.float64(),
    "flag": pa.bool_(),
}
"""The kinds of values that metadata has, and the types of columns made for them."""
LARGEST: Mapping[str, float] = {"flag": 1, "whole": 2**63 - 1, "real": sys.float_info.max}
"""How large numbers of each kind may be; not-a-number is none."""


@dataclass(frozen=True, slots=True)
class LanceLayout:
    """What the columns of one version of a table mean.

    columns: of the vectors, per space, oldest first. metadata: per key and kind, the column, and in
        a column of structs the names of the fields below it.
    prepared: False while an adopted table is still as it was found; it has no column of ours then.
    ceiling: no content version above this one has been given out.
    """

    schema: Any
    item_id: str
    columns: Mapping[ModelId, str]
    metadata: Mapping[str, Mapping[str, tuple[str, ...]]]
    prepared: bool
    ceiling: int
    _models: Mapping[str, ModelId] = field(repr=False)

    @property
    def spaces(self) -> tuple[ModelId, ...]:
        """The spaces, oldest first."""
        return tuple(self.columns)

    @property
    def ids_are_numbers(self) -> bool:
        """Whether an adopted table tells its items apart by whole numbers."""
        return bool(pa.types.is_integer(self.schema.field(self.item_id).type))

    @property
    def next_number(self) -> int:
        """A number for the next space, above those of all others."""
        numbers = [int(notes(self.schema.field(name))[NUMBER_NOTE]) for name in self.names()]
        return max(numbers, default=0) + 1

    def names(self) -> Iterable[str]:
        """The columns of vectors."""
        return self.columns.values()

    def model(self, fingerprint: str) -> ModelId:
        """The space with a fingerprint."""
        return self._models[fingerprint]

    def comparison(self, space: ModelId) -> Metric:
        """Tell what the engine compares a side by.

        hotfill fills its own columns with vectors of unit length, which the inner product ranks as
        the cosine does, and imputed ones by their length, too.
        """
        ours = space.metric == "cosine" and self.columns[space] == _own_column(space)
        return "dot" if ours else space.metric

    def side(self, space: ModelId) -> str:
        """The condition that a row is an item searched in `space`."""
        if self.prepared:
            return f"{SPACE} = '{space.fingerprint}'"
        return f"{quoted(self.columns[space])} IS NOT NULL"

    def items(self) -> str:
        """The condition that a row is an item."""
        return f"{SPACE} <> ''" if self.prepared else self.side(self.spaces[0])

    def beside(self) -> list[str]:
        """Every column but those of vectors."""
        vectors = set(self.names())
        return [name for name in self.schema.names if name not in vectors]

    def metadata_columns(self) -> list[str]:
        """The columns of metadata, or that have metadata in them."""
        names = (path[0] for kinds in self.metadata.values() for path in kinds.values())
        return list(dict.fromkeys(names))


def layout_of(schema: Any, table: str) -> LanceLayout:
    """Read a schema. Raises StoreError when the table carries no stamp."""
    stamped: list[tuple[int, ModelId, str]] = []
    item_id, ceiling = None, 0
    metadata: dict[str, dict[str, tuple[str, ...]]] = {}
    for column in schema:
        said = notes(column)
        if MODEL_NOTE in said:
            model = ModelId.from_dict(json.loads(said[MODEL_NOTE]))
            stamped.append((int(said[NUMBER_NOTE]), model, column.name))
        elif said.get(ROLE_NOTE) == ID_ROLE:
            item_id = column.name
        elif column.name == VERSION:
            ceiling = int(said.get(CEILING_NOTE, 0))
        elif column.name not in OWN:
            for key, kind, path in _keys(column, said.get(KEY_NOTE, column.name)):
                if not key.startswith("_") and not {'"', "\\"} & set(key):
                    metadata.setdefault(key, {})[kind] = path
    if item_id is None or not stamped:
        raise StoreError(f"the table {table} is not a hotfill gallery: stamp it, or create one")
    columns = {model: name for _, model, name in sorted(stamped, key=lambda each: each[0])}
    return LanceLayout(
        schema=schema,
        item_id=item_id,
        columns=columns,
        metadata=metadata,
        prepared=ORIGIN in schema.names,
        ceiling=ceiling,
        _models={model.fingerprint: model for model in columns},
    )


def _keys(column: Any, key: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """List the metadata keys of a column: key, kind, names of the column and of fields below it."""
    kind = kind_of_type(column.type)
    if kind is not None:
        yield key, kind, (column.name,)
    elif pa.types.is_struct(column.type):
        for field_ in column.type:
            if not field_.name.startswith("_") and "." not in field_.name:
                for inner, kind, path in _keys(field_, f"{key}.{field_.name}"):
                    yield inner, kind, (column.name, *path)


def new_schema(model: ModelId) -> Any:
    """Return the schema of a table that is made for a gallery."""
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False, metadata={ROLE_NOTE: ID_ROLE}),
            pa.field(VERSION, pa.int64()),
            pa.field(SPACE, pa.string()),
            pa.field(ORIGIN, pa.string()),
            vector_field(model, 1),
        ]
    )


def _own_column(model: ModelId) -> str:
    return f"vector_{model.fingerprint}"


def vector_field(model: ModelId, number: int) -> Any:
    """Return the column for the vectors of a space, stamped."""
    return pa.field(
        _own_column(model),
        pa.list_(pa.float32(), model.dimension),
        metadata=stamp(model, number),
    )


def stamp(model: ModelId, number: int) -> dict[str, str]:
    """Return what is noted at a column of vectors. number: larger for younger spaces."""
    return {MODEL_NOTE: json.dumps(model.to_dict()), NUMBER_NOTE: str(number)}


def missing_columns(layout: LanceLayout, metadata: Sequence[Metadata]) -> list[Any]:
    """Return the columns that these values need and the table lacks."""
    taken = {name.lower() for name in layout.schema.names}
    needed = dict.fromkeys((key, kind_of(value)) for row in metadata for key, value in row.items())
    fresh = []
    for key, kind in needed:
        if kind not in layout.metadata.get(key, {}):
            # Lance takes no dots in names; the key itself stands in the column's notes.
            plain = f"{re.sub('[^0-9A-Za-z_]', '_', key)}__{kind}"
            name, n = plain, 1
            while name.lower() in taken:
                n += 1
                name = f"{plain}_{n}"
            taken.add(name.lower())
            fresh.append(pa.field(name, KINDS[kind], metadata={KEY_NOTE: key}))
    return fresh


def kind_of(value: Scalar) -> str:
    """Return the kind of a value of metadata."""
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, str):
        return "text"
    return "whole" if isinstance(value, int) else "real"


def kind_of_type(type_: Any) -> str | None:
    """Return the kind of values that a column holds; None for one that metadata cannot use."""
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return "text"
    if pa.types.is_integer(type_) and not pa.types.is_uint64(type_):
        return "whole"
    if pa.types.is_floating(type_):
        return "real"
    return "flag" if pa.types.is_boolean(type_) else None


def type_at(layout: LanceLayout, path: Sequence[str]) -> Any:
    """Return the type of a column, or of a field of structs in it."""
    type_ = layout.schema.field(path[0]).type
    for name in path[1:]:
        type_ = type_.field(name).type
    return type_


def notes(column: Any) -> dict[str, str]:
    """Return what is noted at a column."""
    return {key.decode(): value.decode() for key, value in (column.metadata or {}).items()}


def quoted(column: str) -> str:
    """Return a column's name as SQL takes it."""
    return "`" + column.replace("`", "``") + "`"


# Adoption: a table that is there is looked at, stamped, and only later prepared ----------------


def is_stamped(schema: Any) -> bool:
    """Tell whether a table is a gallery."""
    return any(MODEL_NOTE in notes(column) for column in schema)


def stamp_table(
    table: Any, model: ModelId, *, name: str, id_column: str, vector_column: str
) -> None:
    """Note at two columns of a table what they are; nothing else of it changes.

    Raises StoreError naming what does not fit. Idempotent.
    """
    schema = table.schema
    if is_stamped(schema):
        layout = layout_of(schema, name)
        if model not in layout.spaces:
            raise StoreError(
                f"the table {name} is stamped with {', '.join(map(str, layout.spaces))} already; "
                f"to get it to {model}, start an upgrade"
            )
        return
    for wanted in (id_column, vector_column):
        if wanted not in schema.names:
            raise StoreError(
                f"the table {name} has no column {wanted!r}; it has {', '.join(schema.names)}"
            )
    _check_ids(table, schema.field(id_column), name)
    _check_vectors(schema.field(vector_column), model, name)
    strange = [own for own in OWN if own in schema.names]
    if strange:
        raise StoreError(f"the table {name} has a column {strange[0]!r}, a name that hotfill uses")
    with translated("stamp the table"):
        table.update_field_metadata({"path": id_column, "metadata": {ROLE_NOTE: ID_ROLE}})
        table.update_field_metadata({"path": vector_column, "metadata": stamp(model, 1)})


def prepare(table: Any, layout: LanceLayout) -> None:
    """Add hotfill's columns to a table as it was found.

    A crash may cut this anywhere: the last column tells that all is done. Idempotent.
    """
    model = layout.spaces[0]
    there = table.schema.names
    fresh = {VERSION: "cast(0 as bigint)", SPACE: f"'{model.fingerprint}'"}
    with translated("add columns to the table"):
        missing = {name: value for name, value in fresh.items() if name not in there}
        if missing:
            table.add_columns(missing)
        empty = f"{quoted(layout.columns[model])} IS NULL"
        if table.count_rows(empty):  # rows without a vector are no items
            table.update(where=empty, values={SPACE: ""})
        table.add_columns({ORIGIN: f"'{model.fingerprint}'"})


def _check_ids(table: Any, column: Any, name: str) -> None:
    textual = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if not textual and not pa.types.is_signed_integer(column.type):
        raise StoreError(
            f"the table {name}: ids are texts or whole numbers; the column {column.name!r} is of "
            f"type {column.type}"
        )
    with translated("look at the ids"):
        rows = table.count_rows()
        ids = table.search().select([column.name]).limit(max(rows, 1)).to_arrow()
    ids = ids.column(column.name)
    if ids.null_count or len(ids.unique()) != len(ids):
        raise StoreError(
            f"the table {name}: each row needs an id of its own; in the column {column.name!r} "
            f"{ids.null_count} are empty and {len(ids) - len(ids.unique())} repeat another"
        )


def _check_vectors(column: Any, model: ModelId, name: str) -> None:
    kind = column.type
    fits = (
        pa.types.is_fixed_size_list(kind)
        and kind.list_size == model.dimension
        and (pa.types.is_float32(kind.value_type) or pa.types.is_float16(kind.value_type))
    )
    if not fits:
        raise StoreError(
            f"the table {name}: the vectors of {model} need a column of type "
            f"fixed_size_list<float>[{model.dimension}]; {column.name!r} is {kind}"
        )
