"""Heads: classifiers on frozen features that learn one experience after another."""

from backbones.core.registry import Registry

HEADS = Registry(
    "head",
    "continual.heads",
    {
        "ipt": ("continual.heads.ipt:Ipt", "incremental prototype tuning: category and example prototypes"),
        "ncm": ("continual.heads.ncm:Ncm", "nearest class mean by cosine, nothing trained"),
        "cosine": ("continual.heads.linear:Cosine", "cosine classifier trained on the current data alone"),
        "linear": ("continual.heads.linear:Linear", "linear classifier trained on the current data alone (naive)"),
        "slda": ("continual.heads.slda:Slda", "streaming linear discriminant analysis, shared covariance"),
        "fecam": ("continual.heads.fecam:Fecam", "a shrunk Mahalanobis distance for each class"),
        "ranpac": ("continual.heads.ranpac:Ranpac", "random projection, ReLU and ridge regression"),
    },
)

__all__ = ["HEADS"]
