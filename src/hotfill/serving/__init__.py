"""Search and write a gallery in any phase of its upgrade.

Reading order: `view` (what a phase means for searches and writes), `switch` (how one view follows
another), `results`, `fitting` and `chain_fitting` (what ranks both sides), and `serving`, the door.
"""
