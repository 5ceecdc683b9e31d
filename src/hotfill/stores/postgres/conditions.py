"""Filters as conditions on a jsonb column. Their meaning is fixed in `hotfill.stores.filters`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from psycopg import sql

from hotfill.stores.base import Range
from hotfill.stores.filters import alternatives
from hotfill.stores.postgres.documents import value

if TYPE_CHECKING:
    from hotfill.stores.base import Where


def where_condition(
    where: Where | None, column: str | None
) -> tuple[sql.Composable, dict[str, Any]]:
    """Translate a checked filter: a condition that begins with AND or is empty, and its values.

    column: of the metadata; None where there is none, so that no item passes.
    """
    parts: list[sql.Composable] = []
    values: dict[str, Any] = {}
    for i, (key, wanted) in enumerate((where or {}).items()):
        if column is None:
            return sql.SQL(" AND false"), {}
        name, m = f"where{i}", sql.Identifier(column)
        if isinstance(wanted, Range):
            values[name] = key
            bounds: list[sql.Composable] = [sql.SQL("true")]
            for sign, bound in ((">=", wanted.at_least), ("<=", wanted.at_most)):
                if bound is not None:
                    values[f"{name}{sign}"] = (
                        repr(float(bound)) if isinstance(bound, float) else str(int(bound))
                    )
                    bounds.append(
                        sql.SQL("(i.{m}->>{key})::numeric {sign} {bound}::numeric").format(
                            m=m,
                            key=sql.Placeholder(name),
                            sign=sql.SQL(sign),
                            bound=sql.Placeholder(f"{name}{sign}"),
                        )
                    )
            # CASE, because only inside it the type is sure to be looked at before the number.
            parts.append(
                sql.SQL(
                    " AND CASE WHEN jsonb_typeof(i.{m}->{key}) = 'number' THEN {bounds} "
                    "ELSE false END"
                ).format(m=m, key=sql.Placeholder(name), bounds=sql.SQL(" AND ").join(bounds))
            )
        else:
            # Containment compares numbers as numbers and never a number with a text.
            values[name] = [f"{{{json.dumps(key)}:{value(one)}}}" for one in alternatives(wanted)]
            parts.append(
                sql.SQL(" AND i.{m} @> ANY ({wanted}::jsonb[])").format(
                    m=m, wanted=sql.Placeholder(name)
                )
            )
    return sql.SQL("").join(parts), values
