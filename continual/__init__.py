"""Class-incremental learning on frozen backbones."""

from typing import TYPE_CHECKING

from backbones.core.lazy import lazy

_HOMES = {
    "Engine": "continual.engine",
    "HEADS": "continual.heads",
    "Head": "continual.heads.base",
    "HeadSettings": "continual.heads.base",
    "Run": "continual.runner",
    "RunSettings": "continual.settings",
    "Step": "continual.engine",
    "Tuning": "continual.settings",
    "check_head": "continual.testing",
    "prepare": "continual.plan",
    "read_artefact": "continual.artefact",
    "read_report": "continual.report",
}

if TYPE_CHECKING:
    from continual.artefact import read_artefact
    from continual.engine import Engine, Step
    from continual.heads import HEADS
    from continual.heads.base import Head, HeadSettings
    from continual.plan import prepare
    from continual.report import read_report
    from continual.runner import Run
    from continual.settings import RunSettings, Tuning
    from continual.testing import check_head
else:  # hidden from type checkers: a module with __getattr__ would have every attribute
    __getattr__, __dir__ = lazy(__name__, _HOMES)

__all__ = [
    "HEADS",
    "Engine",
    "Head",
    "HeadSettings",
    "Run",
    "RunSettings",
    "Step",
    "Tuning",
    "check_head",
    "prepare",
    "read_artefact",
    "read_report",
]
