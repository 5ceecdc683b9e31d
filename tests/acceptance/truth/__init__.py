"""The second campaign: every acknowledged write is known, and every single answer is judged by it.

An application searches and writes while an upgrade goes on and is struck by faults, and also between
a fault and the next command, when nobody has repaired anything yet. An answer is either right, which
an oracle tells that knows every write that was acknowledged, or it is refused by an error of ours.

`python -m tests.acceptance.truth --faults 60 --seed 0 --json FILE` runs one and prints a table.
"""
