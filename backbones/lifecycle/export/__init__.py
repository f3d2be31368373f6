"""Deployable artefacts of a backbone: ONNX, int8 ONNX and torch.export, each verified by running it."""
