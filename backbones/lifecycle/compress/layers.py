"""Which weights of a backbone are compressed; a layer of an unknown kind is named, not skipped."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from backbones.base import Backbone
from backbones.core.errors import FrostlineError

LINEAR = (nn.Linear,)
CONVOLUTION = (nn.Conv2d,)  # of a patch embedding
TABLE = (nn.Embedding,)
VECTORS = (nn.LayerNorm, nn.GroupNorm, _BatchNorm)  # left alone, as are all tensors of one dimension
SUPPORTED = "Linear, Conv2d of one group (quantised, not pruned), Embedding (quantised if asked for)"


def linear_layers(backbone: Backbone, keep: Sequence[str] = ()) -> list[str]:
    """Return the paths of the linear layers in the order of the module, without those that ``keep`` names.

    Args:
        backbone: whose layers.
        keep: shell patterns of paths, such as ``blocks.0.*``.

    Raises:
        FrostlineError: no linear layer is left.
    """
    found = [path for path, module in backbone.module.named_modules() if isinstance(module, LINEAR)]
    left = [path for path in found if not _kept(path, keep)]
    if not left:
        raise FrostlineError(
            f"no linear layer of backbone {backbone.name!r} is left to compress: {len(found)} of {len(found)} are kept "
            f"by {', '.join(keep) or 'nothing'}; keep fewer."
        )
    return left


def quantised_layers(backbone: Backbone, keep: Sequence[str] = (), *, embeddings: bool = False) -> list[str]:
    """Return the paths of all layers whose ``weight`` is put on a grid.

    Args:
        backbone: whose layers.
        keep: shell patterns of paths that stay as they are.
        embeddings: also the tables of embeddings, each row as an output channel.

    Raises:
        FrostlineError: a layer holds weights of two dimensions or more and is of no supported kind.
    """
    kinds = (*LINEAR, *CONVOLUTION, *(TABLE if embeddings else ()))
    found: list[str] = []
    for path, module in backbone.module.named_modules():
        if _kept(path, keep) or not path:
            continue
        if isinstance(module, kinds) and getattr(module, "groups", 1) == 1:
            found.append(path)
        elif not isinstance(module, (*VECTORS, *TABLE)) and _bears_weights(module):
            raise FrostlineError(
                f"layer {path!r} of backbone {backbone.name!r} is a {type(module).__name__}, whose weights cannot be "
                f"quantised. Supported: {SUPPORTED}. Leave it as it is with --keep {path!r}."
            )
    if not found:
        raise FrostlineError(f"no layer of backbone {backbone.name!r} is left to quantise; keep fewer.")
    return found


def _kept(path: str, keep: Sequence[str]) -> bool:
    return any(fnmatchcase(path, pattern) or path.startswith(f"{pattern}.") for pattern in keep)


def _bears_weights(module: nn.Module) -> bool:
    """Tell whether a module has a matrix of its own that is called a weight; positions and tokens are not."""
    return any(param.ndim > 1 and "weight" in name for name, param in module.named_parameters(recurse=False))
