"""What an upgrade does to searches, measured while it runs, and when that holds it.

Reading order: `canaries` (what is searched), `quality` (what is measured), `watch` (when, and what
follows), `gate` (what of all that the journal knows). What a plan may require is one floor below,
in `hotfill.upgrade.requirements`.
"""
