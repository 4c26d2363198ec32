"""What a training is: the values, the files and the data that decide its numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from uda_hydra.files import digest_of, flat, read_json, remembered_digest
from uda_hydra.models.pretrained import weights_file
from uda_hydra.runs.schema import RunSchema
from uda_hydra.settings import TrainerSettings, neutral_keys

if TYPE_CHECKING:
    # It loads torch, and every command line is read before that.
    from uda_hydra.data.pair import Pair

RECORD = "identity.json"
"""The file in a training's folder that holds its ``record``."""
FINGERPRINTS = ("times", "content")
"""How a file of the data is known: by size and time of change, or by SHA-256."""
KNOWN_BY = "known by"
"""Key of a record's data: which of the ``FINGERPRINTS`` the others are."""
FILE = "<file>"
"""Stands in a record for a file outside the run, which counts by its content alone."""
TRAINED = ("last.pt", "previous.pt", "result.json")
"""Files that a training has only after its record."""
NEUTRAL_INSIDE = {
    "trainer": neutral_keys(TrainerSettings),
    "dataset": frozenset({"cache", "cache_folder"}),
}


def identity(config: DictConfig) -> dict[str, Any]:
    """The resolved values that decide a training's numbers, flat.

    A path below an earlier stage is written as ``${stage:<name>}/...``, wherever the run lies.
    """
    values = OmegaConf.to_container(config, resolve=True)
    values = {key: value for key, value in values.items() if key not in neutral_keys(RunSchema)}
    for group, keys in NEUTRAL_INSIDE.items():
        values[group] = {k: v for k, v in values[group].items() if k not in keys}
    folders = {name: Path(folder) for name, folder in (config.folders or {}).items()}
    return {k: _each(v, lambda text: _relative(text, folders)) for k, v in flat(values).items()}


def paths_below(config: DictConfig, folder: Path) -> list[str]:
    """The keys of a config whose value lies in ``folder``."""
    values = flat(OmegaConf.to_container(config, resolve=True))
    values = {key: v for key, v in values.items() if key.split(".")[0] != "folders"}
    return [
        key
        for key, value in values.items()
        if any(Path(text).is_relative_to(folder) for text in _texts(value))
    ]


def record(config: DictConfig, data: Mapping[str, str]) -> dict[str, Any]:
    """All that decides a training's numbers: its config, the files it reads, its data.

    A file counts by its content, wherever it lies, and so does a folder that a stage has made.
    ``data`` are the fingerprints of the parts of the domain pair, see ``fingerprints``. The
    outcome is plain JSON.
    """
    folders = dict(config.folders or {})
    content: dict[str, str] = {}
    values = identity(config)
    if values["init"] is not None:
        values["init"] = str(weights_file(values["init"], values.get("model.backbone")))
    for key, value in values.items():
        read = {text: _absolute(text, folders) for text in _texts(value)}
        found = {text: digest_of_path(path) for text, path in read.items() if _counts(text, path)}
        if found:
            content[key] = digest_of([*found.values()], length=16)
            outside = {text for text in found if not text.startswith("${stage:")}
            values[key] = _each(value, lambda text, files=outside: FILE if text in files else text)
    return {"config": values, "content": content, "data": dict(data)}


def fingerprints(pair: Pair, by: str) -> dict[str, str]:
    """The fingerprints of a pair's parts, and which of the ``FINGERPRINTS`` they are."""
    return {KNOWN_BY: by, **pair.fingerprint(content=by == "content")}


def recorded_by(folder: Path) -> str | None:
    """Which of the ``FINGERPRINTS`` the record in ``folder`` holds; None if there is no record."""
    data = (read_json(folder / RECORD) or {}).get("data")
    by = data.get(KNOWN_BY) if isinstance(data, dict) else None
    return by if by in FINGERPRINTS else None


def changes(folder: Path, new: Mapping[str, Any]) -> list[str]:
    """What differs between a record and the one in ``folder``; nothing if no training is there."""
    if not (folder / RECORD).exists():
        left = [name for name in TRAINED if (folder / name).exists()]
        return [f"{folder / RECORD} is missing, though {left[0]} is there"] if left else []
    old = read_json(folder / RECORD) or {}
    if old.keys() != new.keys() or not all(isinstance(part, dict) for part in old.values()):
        return [f"{folder / RECORD} is damaged or of an earlier version"]
    config, content, data = (_different(old[part], new[part]) for part in new)
    found = [f"{key}: {old['config'].get(key)} -> {new['config'].get(key)}" for key in config]
    for key in content:
        where = new["config"].get(key, FILE)
        found.append(f"content of {key} changed" + (f" ({where})" if where != FILE else ""))
    if data:
        parts = (_data_change(part, old["data"].get(part), new["data"].get(part)) for part in data)
        found.append(f"data changed: {', '.join(parts)}")
    return found


def _data_change(part: str, old: object, new: object) -> str:
    """What the fingerprints of a part say: another number of files, or others of this number."""
    was, now = (str(value).partition(",")[0] for value in (old, new))
    return f"{part} had {was}, now {now}" if was != now else f"files of {part} were edited"


def _different(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]


def digest_of_path(path: Path) -> str:
    """The digest of a file's bytes, or of all files in a folder.

    Of a training's folder it is that of its last weights, of one with a record of what it is
    (``identity.json``) that of the record.
    """
    if path.is_file():
        return remembered_digest(path)
    for name in ("last.pt", RECORD):
        if (path / name).is_file():
            return digest_of_path(path / name)
    files = sorted(one for one in path.rglob("*") if one.is_file() and one.name[0] != ".")
    return digest_of([[str(one.relative_to(path)), digest_of_path(one)] for one in files])


def _counts(text: str, path: Path) -> bool:
    """Whether a value names a file, or a folder of a stage, such as one of labels."""
    try:
        if path.is_dir():
            return text.startswith("${stage:") or (path / RECORD).is_file()
        return path.is_file()
    except OSError:
        # A text may be too long for the name of a file.
        return False


def _relative(text: str, folders: Mapping[str, Path]) -> str:
    for name, folder in folders.items():
        if Path(text).is_relative_to(folder):
            return str(Path(f"${{stage:{name}}}") / Path(text).relative_to(folder))
    return text


def _absolute(text: str, folders: Mapping[str, str]) -> Path:
    for name, folder in folders.items():
        text = text.replace(f"${{stage:{name}}}", folder, 1)
    return Path(text)


def _texts(value: Any) -> Iterator[str]:
    """The strings in a value, which may be a list."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def _each(value: Any, change: Callable[[str], str]) -> Any:
    """A value with each of its strings changed."""
    if isinstance(value, str):
        return change(value)
    return [_each(one, change) for one in value] if isinstance(value, list) else value
