"""The tables of a journal in PostgreSQL: one schema for each upgrade.

Item ids are kept as bytes: PostgreSQL's texts cannot hold every text, and bytes have one order.
"""

from __future__ import annotations

FORMAT = 1

TABLES = """
CREATE TABLE {schema}.journal (format int NOT NULL);
INSERT INTO {schema}.journal VALUES (%(format)s);
CREATE TABLE {schema}.facts (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at double precision NOT NULL DEFAULT extract(epoch FROM clock_timestamp()),
    kind text NOT NULL, body text NOT NULL
);
CREATE INDEX facts_by_kind ON {schema}.facts (kind, number);
CREATE TABLE {schema}.holds (
    kind text, about text, since double precision NOT NULL,
    measured double precision, required double precision, PRIMARY KEY (kind, about)
);
CREATE TABLE {schema}.batches (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stage text NOT NULL, state text NOT NULL, item_ids bytea[] NOT NULL, items int NOT NULL,
    attempts int NOT NULL, owner text, leased_until timestamptz,
    moved int NOT NULL DEFAULT 0, skipped int NOT NULL DEFAULT 0
);
CREATE INDEX batches_to_do ON {schema}.batches (stage, number) WHERE state <> 'done';
CREATE INDEX batches_by_stage ON {schema}.batches (stage, number) INCLUDE (items, moved, skipped);
CREATE TABLE {schema}.dead_letters (
    item_id bytea PRIMARY KEY, stage text NOT NULL, error text NOT NULL, attempts int NOT NULL,
    at double precision NOT NULL DEFAULT extract(epoch FROM clock_timestamp())
);
CREATE TABLE {schema}.deleted (item_id bytea PRIMARY KEY);
CREATE TABLE {schema}.beat (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only), body text NOT NULL,
    at double precision NOT NULL
);
"""

ADD_WORK = """
INSERT INTO {schema}.batches (stage, state, item_ids, items, attempts)
SELECT %(stage)s, 'to do', array_agg(item_id ORDER BY place), count(*), 0
FROM (
    SELECT item_id, row_number() OVER (ORDER BY rank, item_id) - 1 AS place FROM staging
) ordered
GROUP BY place / %(size)s ORDER BY place / %(size)s
RETURNING items
"""

LEASE = """
WITH next AS (
    SELECT number FROM {schema}.batches WHERE stage = %(stage)s
    AND (state = 'to do' OR (state = 'leased' AND leased_until < clock_timestamp()))
    ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE {schema}.batches b SET state = 'leased', owner = %(owner)s,
    leased_until = clock_timestamp() + make_interval(secs => %(seconds)s)
FROM next WHERE b.number = next.number RETURNING b.number, b.item_ids, b.attempts
"""

REVIVE = """
WITH letters AS (DELETE FROM {schema}.dead_letters RETURNING item_id, stage)
INSERT INTO {schema}.batches (stage, state, item_ids, items, attempts)
SELECT stage, 'to do', array_agg(item_id ORDER BY place), count(*), 0
FROM (
    SELECT stage, item_id, row_number() OVER (PARTITION BY stage ORDER BY item_id) - 1 AS place
    FROM letters
) ordered
GROUP BY stage, place / %(size)s
ORDER BY array_position(ARRAY['prefill', 'embed', 'revert'], stage), place / %(size)s
RETURNING items
"""

BURY = """
UPDATE {schema}.batches SET item_ids = kept.item_ids, items = cardinality(kept.item_ids)
FROM (
    SELECT b.number, ARRAY(
        SELECT u.item_id FROM unnest(b.item_ids) WITH ORDINALITY u(item_id, place)
        WHERE u.item_id <> ALL (%(rejected)s) ORDER BY u.place
    ) AS item_ids
    FROM {schema}.batches b WHERE b.number = %(number)s FOR UPDATE
) kept
WHERE batches.number = kept.number
"""

DEAD_LETTERS = """
INSERT INTO {schema}.dead_letters (item_id, stage, error, attempts)
SELECT unnest(%(rejected)s::bytea[]), %(stage)s, %(error)s, %(attempts)s
ON CONFLICT (item_id) DO UPDATE SET stage = excluded.stage, error = excluded.error,
    attempts = excluded.attempts, at = excluded.at
"""
