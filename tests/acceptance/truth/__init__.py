"""A campaign of faults in which every single answer is judged by every acknowledged write.

An application searches and writes while an upgrade goes on and is struck by faults, and also
between a fault and the next command, when nobody has repaired anything yet. An answer is right,
which an oracle tells that knows all acknowledged writes, or it is refused by an error of ours.

`python -m tests.acceptance.truth --faults 60 --seed 0 --json FILE` runs one and prints a table.
"""
