"""The work on batches of items: which, in which order, how, and at what pace.

Reading order: `stages` (what is done to a batch), `backfill` (the loop that does it) with
`narrowing`, `retrying` and `prefetch`, `pace` (when it waits), `order` and `ordering` (which items
first), `leftover` and `dead` (what is still to do), `tidying` (of the store meanwhile).
"""
