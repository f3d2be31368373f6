"""Frozen transformers and what is done to them."""

from typing import TYPE_CHECKING

from backbones.core.lazy import lazy

_HOMES = {
    "BACKBONES": "backbones.catalog",
    "Backbone": "backbones.base",
    "Delta": "backbones.delta",
    "Encoder": "backbones.encoder",
    "FeatureStore": "backbones.features",
    "FrostlineError": "backbones.core.errors",
    "LoadOptions": "backbones.catalog",
    "PATS": "backbones.pat",
    "Pat": "backbones.pat.base",
    "Settings": "backbones.core.settings",
    "Site": "backbones.base",
    "check_backbone": "backbones.testing",
    "check_pat": "backbones.testing",
    "load_backbone": "backbones.catalog",
}

if TYPE_CHECKING:
    from backbones.base import Backbone, Site
    from backbones.catalog import BACKBONES, LoadOptions, load_backbone
    from backbones.core.errors import FrostlineError
    from backbones.core.settings import Settings
    from backbones.delta import Delta
    from backbones.encoder import Encoder
    from backbones.features import FeatureStore
    from backbones.pat import PATS
    from backbones.pat.base import Pat
    from backbones.testing import check_backbone, check_pat
else:  # hidden from type checkers: a module with __getattr__ would have every attribute
    __getattr__, __dir__ = lazy(__name__, _HOMES)

__all__ = [
    "BACKBONES",
    "PATS",
    "Backbone",
    "Delta",
    "Encoder",
    "FeatureStore",
    "FrostlineError",
    "LoadOptions",
    "Pat",
    "Settings",
    "Site",
    "check_backbone",
    "check_pat",
    "load_backbone",
]
