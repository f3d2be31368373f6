"""Weights of the bundled backbones, as package data: fp16 safetensors, a JSON config and a model card each."""
