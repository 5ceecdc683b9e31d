"""The engine: it moves the items of a live gallery from an old model to a new one.

Reading order: `phases` (where an upgrade can be), `holds` (why it may not move), `plan` (what it
will do), `journal` (what it has done), `order` (which items first), `pipeline` and `backfill` (the
work), `verify`, `status`, and `engine`, which ties them together.
"""
