"""Gain(mAP) that section 7 of the method specification notes: its own toy, three seeds."""

from __future__ import annotations

ORDER_OF_WAYS = ("normalised", "raw l2", "raw l2, old x0.5")

SYNTHETIC: dict[str, tuple[float, float, float]] = {
    "RM-naive; random": (0.35, 0.12, -0.68),
    "RQT; random": (0.39, 0.11, -0.65),
    "RQT + CL_old; random": (0.71, 0.39, -0.27),
    "RQT + MCL (psi only); random": (0.77, 0.67, 0.54),
    "RQT + independent CL (psi, rho); random": (0.90, 0.77, 0.26),
    "RQT + MCL (psi, rho); random": (0.95, 0.88, 0.90),
    "FCT h; random": (0.89, 0.89, 0.89),
    "FastFill; random": (0.87, 0.86, 0.86),
    "FastFill; sigma": (0.97, 0.98, 0.98),
    "FastFill; class mean": (0.97, 0.97, 0.97),
}

SYNTHETIC_LABEL_FREE: dict[str, tuple[float, float]] = {
    "RRF; random": (0.13, 0.12),
    "RM + z-score; random": (0.49, 0.49),
    "RM + isotonic; random": (0.45, 0.39),
    "RQT + z-score; random": (0.53, 0.52),
    "RQT + isotonic; random": (0.49, 0.43),
    "MCL, 5 neighbours (psi, rho); random": (0.40, 0.52),
    "MCL, 20 neighbours (psi, rho); random": (0.58, 0.69),
}

DIGITS = {
    "RM-naive; random": 0.33,
    "RQT; random": 0.36,
    "RQT + MCL (psi only); random": 0.73,
    "RQT + MCL (psi, rho); random": 0.85,
    "FCT h; random": 0.94,
    "FastFill; sigma": 0.99,
}


def expected(place: str, method: str) -> float | None:
    """The noted figure for "toy; way" and "method; order", or None."""
    toy, _, way = place.partition("; ")
    if toy == "digits":
        return DIGITS.get(method)
    if toy != "synthetic" or way not in ORDER_OF_WAYS:
        return None
    if method in SYNTHETIC:
        return SYNTHETIC[method][ORDER_OF_WAYS.index(way)]
    column = ("normalised", None, "raw l2, old x0.5").index(way) if way != "raw l2" else None
    if method in SYNTHETIC_LABEL_FREE and column is not None:
        return SYNTHETIC_LABEL_FREE[method][column // 2]
    return None
