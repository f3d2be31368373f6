"""PATs: parameter-additional tuning methods, one idea per file."""

from backbones.core.registry import Registry

PATS = Registry(
    "PAT",
    "backbones.pats",
    {
        "frozen": ("backbones.pat.frozen:Frozen", "the baseline: nothing is added, nothing is trained"),
        "vpt": ("backbones.pat.vpt:Vpt", "visual prompt tuning: learnable tokens, shallow or before every block"),
    },
)
