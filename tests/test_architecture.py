"""Imports point downwards; heavy packages stay where they belong."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

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
    ["config", "types", "signature"],
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


@cache
def imports(path):
    """Dotted names of all modules that a file imports."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def part(path):
    """The package or module directly below uda_hydra that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def level(name):
    return next(i for i, names in enumerate(LAYERS) if name in names)


def test_imports_point_downwards():
    faults = []
    for path in MODULES:
        here = part(path)
        inside = [n.split(".") for n in imports(path) if n.startswith("uda_hydra.")]
        for name in inside if here != "__init__" else ():
            other = name[1]
            # The contract of a method is below the engine, the methods themselves are not.
            contract = name[1:3] == ["methods", "base"]
            if contract or other == here or (PACKAGE / f"{other}.py") == path:
                continue
            if level(here) >= level(other):
                faults.append(f"{path.relative_to(PACKAGE)} imports {'.'.join(name)}")
    assert not faults


def test_no_method_imports_another():
    methods = {path.stem: path for path in (PACKAGE / "methods").glob("[!_]*.py")}
    faults = []
    for stem, path in methods.items():
        for name in imports(path):
            parts = name.split(".")
            if parts[:2] == ["uda_hydra", "methods"] and {*parts[2:3]} & {*methods} - {
                "base",
                stem,
            }:
                faults.append(f"{stem} imports {name}")
    assert not faults


def test_heavy_packages_stay_where_they_belong():
    faults = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in MODULES
        for name in imports(path)
        if part(path) not in HEAVY.get(name.split(".")[0], {part(path)})
    ]
    assert not faults


def test_files_stay_readable():
    lines = {str(path.relative_to(PACKAGE)): path.read_text().count("\n") for path in MODULES}
    assert not {name: count for name, count in lines.items() if count > 300}
