"""Run Python in a fresh process whose Hugging Face hub is a loopback server and whose cache is a given folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run_with_hub(endpoint: str, cache: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` with ``HF_ENDPOINT`` and ``HF_HOME`` set (they are read at import, hence the process)."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGINGFACE_"))}
    environment |= {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(cache),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
