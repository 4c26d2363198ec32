"""What can be chosen: config groups and their options, each in the words of its own file."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONF, SWEEPS = ROOT / "conf", ROOT / "sweeps"
WIDTH = 79
"""Columns of a text for the terminal."""
GROUP = re.compile(r"^  - (\w+): \S+ +# (.+)$", re.MULTILINE)
"""A group in the list of defaults, and the comment that says what it decides."""


def config_groups() -> dict[str, str]:
    """Each config group and what it decides."""
    return dict(GROUP.findall((CONF / "config.yaml").read_text()))


def options(group: str) -> dict[str, str]:
    """Each option of a group and the first sentence of its file; parts of others are left out."""
    folder, pattern = (SWEEPS, "*.yaml") if group == "sweep" else (CONF / group, "**/*.yaml")
    names = {path.relative_to(folder).with_suffix(""): path for path in folder.glob(pattern)}
    own = (name for name in sorted(names) if not _is_part(name, folder))
    return {str(name): first_sentence(names[name]) for name in own}


def _is_part(name: Path, folder: Path) -> bool:
    """Whether only other options read this one: it is a base, or one of them for one data set."""
    whole = (folder / name.parent).with_suffix(".yaml")
    of_data = whole.is_file() and (CONF / "dataset" / name.name).with_suffix(".yaml").is_file()
    return name.parts[0] == "base" or of_data


def first_sentence(path: Path) -> str:
    """The first sentence of the comment that a YAML file begins with; "" if there is none."""
    words = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        text, command, _ = line.removeprefix("#").partition("python launch.py")
        if not text.strip().startswith("@package"):
            words.append(text.strip())
        if command:
            break
    return re.split(r"(?<=[.?])\s", " ".join(filter(None, words)))[0]


def describe_groups() -> str:
    """The config groups for ``--help``."""
    groups = config_groups()
    width = max(map(len, groups))
    return "\n".join(
        textwrap.fill(
            text,
            WIDTH,
            initial_indent=f"  {name:<{width}}  ",
            subsequent_indent=" " * (width + 4),
        )
        for name, text in groups.items()
    )
