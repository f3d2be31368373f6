"""Passages that ship with the package, of our own writing: people, firms and towns in them are made up."""

from __future__ import annotations

from pathlib import Path

SUFFIXES = (".json", ".jsonl", ".txt")


def samples() -> dict[str, Path]:
    """Return the sample passages: name -> file.

    ``attack`` has gold roles and two events that share mentions, ``arrest`` and ``bombing`` also coreference;
    ``office`` names its entities and not who takes part in what; ``convoy`` has a trigger and nothing else; ``stream``
    is JSON Lines; ``strike`` is raw text, to be read with a trigger such as ``struck``.
    """
    files = (file for file in Path(__file__).parent.iterdir() if file.suffix in SUFFIXES)
    return {file.stem: file for file in sorted(files)}
