"""A campaign of crashes: an upgrade goes on while everything around it is killed, cut or filled up.

`python -m tests.acceptance.campaign --faults 100 --seed 0 --json FILE` runs one and prints a table.
"""
