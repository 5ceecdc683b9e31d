"""The engine: it moves the items of a live gallery from an old model to a new one.

Reading order: `phases` (where an upgrade can be), `holds` (why it may not move), `plan` (what it
will do), `journal` (what it has done), `order` (which items first), `preparing`, `stages` and
`backfill` (the work), `canaries`, `quality`, `requirements` and `guard` (what it does to searches,
and when that holds it), `leftover` and `verify` (what is still to do), `status`, and `engine`,
which ties them together.
"""
