"""The engine: it moves the items of a live gallery from an old model to a new one.

Reading order: `phases` (where an upgrade can be), `holds` (why it may not move), `requirements`
and `plan` (what it will do), `journal` (what it has done), `work` (the batches), `fitting` (what
maps between the models), `guard` (what it does to searches, and when that holds it), `preparing`,
`verify` and `switch_holds` (before the work, and after it), `status` and `control` (what others
see of it and may ask), and `engine`, which ties them together; `worker` is one more pair of hands.
Of these each imports only what stands before it.
"""
