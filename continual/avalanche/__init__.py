"""PATs and heads as plugins of Avalanche (Carta et al., JMLR 2023), for its stock strategies, metrics and loggers.

Import from here what you need; Avalanche itself is imported then, which takes seconds.
"""

from typing import TYPE_CHECKING

from backbones.core.lazy import lazy

_HOMES = {
    "BackboneClassifier": "continual.avalanche.model",
    "CosineClassifier": "continual.avalanche.classifier",
    "HeadPlugin": "continual.avalanche.plugins",
    "IptPlugin": "continual.avalanche.plugins",
    "PatPlugin": "continual.avalanche.plugins",
    "as_model": "continual.avalanche.model",
}

if TYPE_CHECKING:
    from continual.avalanche.classifier import CosineClassifier
    from continual.avalanche.model import BackboneClassifier, as_model
    from continual.avalanche.plugins import HeadPlugin, IptPlugin, PatPlugin
else:  # hidden from type checkers: a module with __getattr__ would have every attribute
    __getattr__, __dir__ = lazy(__name__, _HOMES)

__all__ = ["BackboneClassifier", "CosineClassifier", "HeadPlugin", "IptPlugin", "PatPlugin", "as_model"]
