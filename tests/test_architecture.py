"""Imports point downwards; heavy packages stay where they belong."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "uda_hydra"

# Upper may import lower, never the reverse; names on one line may not import each other.
LAYERS = [
    ["benchmark"],
    ["schema", "tasks"],
    ["table"],
    ["studies"],
    ["runs"],
    ["build", "report", "provenance"],
    ["tracking", "callbacks", "published"],
    ["engine"],
    ["methods"],
    ["models"],
    ["losses", "memory", "data"],
    ["augment"],
    ["config", "types"],
    ["settings"],
    ["errors"],
    ["inputs"],
    ["files", "terminal", "catalogue"],
]
HEAVY = {
    "hydra": {"tasks", "runs", "schema", "errors", "studies", "benchmark"},
    "hydra_plugins": {"studies"},
    "omegaconf": {
        "published",
        "tasks",
        "build",
        "config",
        "runs",
        "schema",
        "errors",
        "studies",
        "benchmark",
    },
    "mlflow": {"tracking"},
    "optuna": {"studies"},
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(path):
    """Dotted names of all modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part(path):
    """The package or module directly below uda_hydra that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def level(name):
    return next(i for i, names in enumerate(LAYERS) if name in names)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    here = part(path)
    if here == "__init__":
        return
    inside = [name.split(".") for name in imports(path) if name.startswith("uda_hydra.")]
    for name in inside:
        other = name[1]
        # The contract of a method is below the engine, the methods themselves are not.
        if name[1:3] == ["methods", "base"] or other == here or (PACKAGE / f"{other}.py") == path:
            continue
        assert level(here) < level(other), f"{here} imports {'.'.join(name)}"


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "methods").glob("[!_]*.py")), ids=lambda p: p.stem
)
def test_no_method_imports_another(path):
    others = {p.stem for p in (PACKAGE / "methods").glob("[!_]*.py")} - {"base", path.stem}
    for name in imports(path):
        parts = name.split(".")
        assert not (parts[:2] == ["uda_hydra", "methods"] and parts[2:3] and parts[2] in others)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_packages_stay_where_they_belong(path):
    for name in imports(path):
        package = name.split(".")[0]
        if package in HEAVY:
            assert part(path) in HEAVY[package], f"{path.name} imports {package}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_stay_readable(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= 300
