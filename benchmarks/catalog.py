"""The table of benchmarks: names, where their objects live, one line each."""

from __future__ import annotations

from backbones.core.registry import Registry

__all__ = ["BENCHMARKS"]

BENCHMARKS = Registry(
    "benchmark",
    "benchmarks.streams",
    {
        "folder": ("benchmarks.named:FOLDER", "any image set in class folders, a tenth of the classes at a time"),
        "split-banking77": ("benchmarks.named_texts:SPLIT_BANKING77", "Banking77, 77 intents, B0-Inc7; downloads"),
        "split-cifar10": ("benchmarks.named:SPLIT_CIFAR10", "CIFAR-10, 10 classes, B0-Inc2; downloads"),
        "split-cifar100": ("benchmarks.named:SPLIT_CIFAR100", "CIFAR-100, 100 classes, B0-Inc10; downloads"),
        "split-clinc150": ("benchmarks.named_texts:SPLIT_CLINC150", "CLINC150, 150 intents, B0-Inc10; downloads"),
        "split-cub200": ("benchmarks.named:SPLIT_CUB200", "CUB-200 birds, 200 classes, B0-Inc10"),
        "split-digits": ("benchmarks.named:SPLIT_DIGITS", "scikit-learn's 8x8 digits, 10 classes, B0-Inc2; built in"),
        "split-imagenet-a": ("benchmarks.named:SPLIT_IMAGENET_A", "ImageNet-A, 200 classes, B0-Inc20"),
        "split-imagenet-r": ("benchmarks.named:SPLIT_IMAGENET_R", "ImageNet-R, 200 classes, B0-Inc20"),
        "split-omnibenchmark": ("benchmarks.named:SPLIT_OMNIBENCHMARK", "OmniBenchmark, 300 classes, B0-Inc30"),
        "split-vtab": ("benchmarks.named:SPLIT_VTAB", "five VTAB tasks, 50 classes, B0-Inc10"),
        "text": ("benchmarks.named_texts:TEXT", "any labelled texts: CSV, JSON or class folders, a tenth at a time"),
    },
)
