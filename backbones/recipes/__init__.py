"""Training scripts of the bundled backbones: they need torch, timm, numpy and Pillow only."""
