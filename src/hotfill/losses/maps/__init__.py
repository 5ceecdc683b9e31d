"""Maps between the old and the new space, used while training."""

from hotfill.losses.maps.base import Map
from hotfill.losses.maps.identity import Identity
from hotfill.losses.maps.orthogonal import Orthogonal
from hotfill.losses.maps.residual import Residual
from hotfill.losses.maps.resize import Pad, Slice, resize

__all__ = ["Identity", "Map", "Orthogonal", "Pad", "Residual", "Slice", "resize"]
