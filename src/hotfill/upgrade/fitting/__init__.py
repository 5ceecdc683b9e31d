"""What is fitted between the models of an upgrade, seen from the engine.

Reading order: `base` (the little that the engine needs of a fit), `pairs` and `chain` (what it is
fitted on), `kept` (where it lies), `refit` (again, from moved items).
"""
