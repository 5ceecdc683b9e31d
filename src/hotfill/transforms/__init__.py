"""Maps between embedding spaces: `up` carries old vectors to the new space, `down` the reverse.

Fitted from pairs of vectors of the same items, applied and stored with numpy only.
"""

from hotfill.transforms.affine import Affine
from hotfill.transforms.base import Transform
from hotfill.transforms.bridge import Bridge, BridgeForm, bridge_of, fit_bridge
from hotfill.transforms.files import load
from hotfill.transforms.forward import ForwardMap, join, joint_model
from hotfill.transforms.identity import Identity, identity
from hotfill.transforms.kernel import KernelMap, fit_kernel
from hotfill.transforms.kernel_bridge import KernelBridge, fit_kernel_bridge
from hotfill.transforms.low_rank import fit_low_rank
from hotfill.transforms.mlp import Mlp
from hotfill.transforms.moments import Moments
from hotfill.transforms.procrustes import fit_procrustes
from hotfill.transforms.residual import Residual
from hotfill.transforms.residual_mlp import ResidualMlp
from hotfill.transforms.ridge import fit_ridge, fit_ridge_batches
from hotfill.transforms.uncertainty import uncertainty

__all__ = [
    "Affine",
    "Bridge",
    "BridgeForm",
    "ForwardMap",
    "Identity",
    "KernelBridge",
    "KernelMap",
    "Mlp",
    "Moments",
    "Residual",
    "ResidualMlp",
    "Transform",
    "bridge_of",
    "fit_bridge",
    "fit_kernel",
    "fit_kernel_bridge",
    "fit_low_rank",
    "fit_procrustes",
    "fit_ridge",
    "fit_ridge_batches",
    "identity",
    "join",
    "joint_model",
    "load",
    "uncertainty",
]
