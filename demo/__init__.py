"""Demonstrations that run offline on the small real data carried by this repository."""
