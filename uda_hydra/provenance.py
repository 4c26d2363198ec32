"""What produced a number: command, code, versions, machine."""

from __future__ import annotations

import platform
import shlex
import subprocess
from importlib.metadata import version
from pathlib import Path

from uda_hydra.files import mask

PACKAGES = ("torch", "torchvision", "hydra-core", "omegaconf", "optuna", "mlflow", "numpy")


def command(overrides: list[str]) -> str:
    """The command line that runs this again, without passwords."""
    return shlex.join(["python", "launch.py", *map(mask, overrides)])


def provenance(overrides: list[str]) -> dict[str, str]:
    """Facts to keep with a result."""
    return {
        "command": command(overrides),
        "git commit": commit(),
        "versions": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "python": platform.python_version(),
        "machine": f"{platform.node()}, {platform.system()} {platform.machine()}",
    }


def commit() -> str:
    """The checked-out commit, marked where the code differs from it."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()
