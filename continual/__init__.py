"""Class-incremental learning on frozen backbones."""
