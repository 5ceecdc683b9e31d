"""Maps between the old and the new space, used while training."""

from hotfill.lab.losses.maps.base import Map
from hotfill.lab.losses.maps.identity import Identity
from hotfill.lab.losses.maps.orthogonal import Orthogonal
from hotfill.lab.losses.maps.residual import Residual
from hotfill.lab.losses.maps.resize import Pad, Slice, resize

__all__ = ["Identity", "Map", "Orthogonal", "Pad", "Residual", "Slice", "resize"]
