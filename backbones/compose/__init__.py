"""Composable sparse fine-tuning: differences of weights as files, added to their base and taken off again."""

from backbones.core.lazy import lazy

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Difference": "backbones.compose.difference",
        "combined": "backbones.compose.adding",
        "compose": "backbones.compose.writing",
        "composed": "backbones.compose.adding",
        "difference_of": "backbones.compose.difference",
        "export_difference": "backbones.compose.writing",
        "extract_difference": "backbones.compose.difference",
        "overlaps": "backbones.compose.adding",
        "read_any": "backbones.compose.sources",
        "read_difference": "backbones.compose.files",
        "read_legacy": "backbones.compose.legacy",
        "save_difference": "backbones.compose.files",
    },
)
