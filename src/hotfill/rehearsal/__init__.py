"""Rehearse an upgrade: measure it on paper, share by share, before anything stored is touched."""

from hotfill.rehearsal.budget import BudgetAnswer, Cost, Criterion
from hotfill.rehearsal.comparison import RehearsalSettings, rehearse
from hotfill.rehearsal.gallery_sample import GallerySample
from hotfill.rehearsal.maps import MAPS
from hotfill.rehearsal.results import MeasuredCurve, Recommendation, Rehearsal
from hotfill.rehearsal.sample import EmbeddedBy, Labels

__all__ = [
    "MAPS",
    "BudgetAnswer",
    "Cost",
    "Criterion",
    "EmbeddedBy",
    "GallerySample",
    "Labels",
    "MeasuredCurve",
    "Recommendation",
    "Rehearsal",
    "RehearsalSettings",
    "rehearse",
]
