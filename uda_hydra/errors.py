"""Bad input ends in one short message that names the key and, where possible, the nearest valid."""

from __future__ import annotations

import difflib
import os
import re
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path

from uda_hydra.files import flat, mask, printable

CONF = Path(__file__).parents[1] / "conf"
TOO_LARGE = re.compile("can't allocate memory|Storage size calculation overflowed")
"""What PyTorch says when the CPU has too little memory."""
TOO_SMALL = re.compile(
    "Calculated padded input size per channel|Padding size should be less than the corresponding|"
    "Input and output sizes should be greater than 0|Expected more than 1 value per channel when"
)
"""What PyTorch says when a map has fewer cells than a layer needs."""
FULL = os.environ.get("HYDRA_FULL_ERROR", "0") == "1"
LAUNCHERS = {
    "joblib": "'uda_hydra[joblib]'",
    "submitit_local": "'uda_hydra[submitit]'",
    "submitit_slurm": "'uda_hydra[submitit]'",
    "ray": "'uda_hydra[ray]'",
}
"""What ``pip install`` needs for each of Hydra's launchers that has a package of its own."""

KINDS = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}
"""OmegaConf's types in words."""


class UserError(Exception):
    """Something the user can correct; its text says what and how. Shown without a traceback."""


class Unfinished(UserError):
    """Parts of a run have failed, the others are done; it need not stop other runs."""


class Stopped(Exception):
    """A training was asked to stop before its end; what was computed is saved."""

    exit_code = 1
    status = "interrupted"
    """The status of the training that ``Callback.on_end`` gets."""


def first_line(error: BaseException) -> str:
    """An error without what follows its first line; the name of its class if it has no text."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """ "; did you mean ...?" with the closest of the known names, else the list of them.

    ``prefix`` is put before the name that is proposed.
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {prefix}{close[0]}?"
    return f"; there are {', '.join(known)}" if known else ""


@contextmanager
def reported(*, leave: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn errors of the user, of Hydra and of OmegaConf into one message and exit code 1.

    ``HYDRA_FULL_ERROR=1`` shows the traceback instead. What is of a type in ``leave`` passes.
    """
    # Hydra would print and exit by itself; with this it lets the exception through to here.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        with no_worker_left():
            yield
    except Exception as error:
        if isinstance(error, leave):
            raise
        if isinstance(error, Stopped):
            print_error(f"stopped by {error}; the same command resumes there")
            sys.exit(error.exit_code)
        message = None if FULL else explain(error)
        if message is None:
            print_error("".join(traceback.format_exception(error)))
        else:
            print_error(f"error: {message}")
        sys.exit(1)
    except KeyboardInterrupt:
        print_error("stopped; the same command resumes from the last checkpoint")
        sys.exit(128 + signal.SIGINT)


def print_error(text: str) -> None:
    """Print to the standard error, without passwords and without codes that steer a terminal."""
    # Hydra indents its lists by tabs.
    print(mask(printable(text.expandtabs(4))), file=sys.stderr)


@contextmanager
def no_worker_left() -> Iterator[None]:
    """After an error, end the processes that load data; Python would wait for them for ever.

    They end with their loader, which the frames of the error keep alive.
    """
    try:
        yield
    except BaseException as error:
        link: BaseException | None = error
        while link is not None:
            traceback.clear_frames(link.__traceback__)
            link = link.__context__
        raise


def explain(error: BaseException) -> str | None:
    """The message for an error that the user can correct; None for a fault of ours."""
    from hydra.errors import HydraException, MissingConfigException, OverrideParseException
    from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _missing_option(error.missing_cfg_file, error.options or ())
    if isinstance(error, UserError | OSError):
        return _own_words(str(error))
    if isinstance(error, MemoryError) or TOO_LARGE.search(str(error)):
        return (
            "this machine has too little memory for the sizes of the config: look at "
            "trainer.batch_size, the sizes of dataset and evaluation, and the widths of model and "
            f"method ({str(error).splitlines()[0] if str(error) else 'MemoryError'})"
        )
    if TOO_SMALL.search(str(error)):
        return (
            "the images, or the crops of them, are too small for the network: look at the sizes of "
            "dataset, augmentation and evaluation, and at trainer.batch_size "
            f"({str(error).splitlines()[0]})"
        )
    if foreign := re.match(r"(?:Invalid plugin|Unknown plugin class :) '([^']*)'", str(error)):
        return (
            f"{foreign[1]} is not a launcher or sweeper of Hydra; leave out _target_ and choose "
            "one by name, such as hydra/launcher=basic"
        )
    if several := re.match(r"Ambiguous value for argument '([^=']*)=([^']*)'", str(error)):
        key, values = several.groups()
        return f'{key}={values}: add -m to run each value; a list is written "{key}=[{values}]"'
    if str(error).startswith("Only one of --run, --multirun, --cfg"):
        return "--cfg shows the config of one run; leave out -m and give swept keys one value"
    if str(error).startswith("Config group override must be a string or a list"):
        return (
            "a config group takes the name of one of its options, not null or a number: leave it "
            "out, and every <group>=null with it"
        )
    if not isinstance(error, HydraException | OmegaConfBaseException):
        return None
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    text = str(error)
    key = re.search(r"Could not override '([\w.@/]+)'", text)
    if key and key[1] in _valid_keys():
        # It is there, but not what was written into it.
        wrong = error.__cause__
        if isinstance(wrong, ConfigKeyError) and is_dataclass(wrong.object_type):
            names = [one.name for one in fields(wrong.object_type)]
            return f"{key[1]}: there is no key {wrong.key}{nearest(str(wrong.key), names)}"
        return f"{key[1]}: {str(wrong).splitlines()[0]}"
    if key:
        # An addressed stage is the one kind of key that a config does not hold from the start.
        hint = f"; write +{key[1]}=..." if key[1].startswith("stage.") else ""
        return f"there is no key {key[1]}{hint or _nearest_key(key[1])}"
    cause = str(error.__cause__ or "")
    unfit = re.match(r"Error merging override ([^=]+)=", text)
    kind = re.search(r"Value (.*) of type .* could not be converted to (\w+)", cause)
    if unfit and "is not Optional" in cause:
        return f"{unfit[1]} must not be null"
    if unfit and kind:
        return f"{unfit[1]} must be {KINDS.get(kind[2], kind[2])}, got {kind[1]}"
    lines = [*text.splitlines(), *cause.splitlines()]
    wanted = (line.strip().rstrip(".") for line in lines if line and not line.startswith(" "))
    return ": ".join(dict.fromkeys(wanted))


def _unreadable(override: str) -> str:
    """That Hydra's grammar does not allow an override, and how it is quoted."""
    key, equals, value = override.partition("=")
    if not equals:
        return f"{override!r} cannot be read: an override is <key>=<value>"
    if value.startswith("~/"):
        # Not even quoted: no shell expands it in the middle of a word.
        value = str(Path(value).expanduser())
    quoted = f"'{value}'"
    if value.startswith("["):
        # In quotes of its own a list would be a text.
        quoted = "['...','...']"
    return (
        f"{override} cannot be read. A value, or item of a list, with letters outside ASCII or one "
        f'of = ~ : , ( ) [ ] {{ }} needs quotes within quotes: "{key}={quoted}"'
    )


def _own_words(text: str) -> str:
    """An error without the traceback that a data loading worker sends along: its last line."""
    first = text.partition("\n")[0]
    if not (first.startswith("Caught ") and "DataLoader worker" in first):
        return text
    return text.strip().splitlines()[-1].partition(": ")[2]


def _missing_option(path: str, options: Iterable[str]) -> str:
    """That a group has no such option, and the nearest of the options beside it.

    ``options`` are those of the group as Hydra knows them.
    """
    group, _, name = path.rpartition("/")
    if group == "hydra/launcher" and name in LAUNCHERS:
        return f"hydra/launcher={name} needs a package: pip install {LAUNCHERS[name]}"
    if path.startswith("hydra/"):
        options = {*options, *(LAUNCHERS if group == "hydra/launcher" else ())}
        return f"there is no {group}={name}{nearest(name, options, prefix=f'{group}=')}"
    group, _, name = path.partition("/")
    below, slash, _ = name.rpartition("/")
    beside = [f"{below}{slash}{option}" for option in _options(f"{group}/{below}")]
    known = beside or [*options]
    if not difflib.get_close_matches(name, known, n=1, cutoff=0.6):
        # Perhaps the name of a file in one of the folders below, without the folder.
        deep = {one: one.rpartition("/")[2] for one in _options(group, deep=True)}
        known = [one for one, last in deep.items() if last == name] or known
    return f"there is no {group}={name}{nearest(name, known, prefix=f'{group}=')}"


def _nearest_key(key: str) -> str:
    """The closest names of the level at which the key is wrong; all that a loss has."""
    known = {*_valid_keys()}
    parts = key.split(".")
    ends = range(1, len(parts) + 1)
    wrong = next((end for end in ends if ".".join(parts[:end]) not in known), len(parts))
    level = ".".join([*parts[: wrong - 1], ""])
    names = {one.removeprefix(level) for one in known if one.startswith(level)}
    names = {one for one in names if "." not in one} - {"_target_"}
    if not level:
        close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
        return nearest(key, close or names - {"hydra"})
    if level == "loss." and not difflib.get_close_matches(parts[1], names, n=1, cutoff=0.85):
        return f"; this method has {', '.join(f'{level}{name}' for name in sorted(names))}"
    return nearest(parts[wrong - 1], names, prefix=level)


def _valid_keys() -> list[str]:
    """Every key and group of the config as it is without the user's overrides."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("config", _choices(), return_hydra_config=True)
    config = OmegaConf.to_container(composed, resolve=False)
    parts = [key.split(".") for key in flat(config)]
    keys = {".".join(names[:end]) for names in parts for end in range(1, len(names) + 1)}
    return sorted(keys | {path.name for path in CONF.iterdir() if path.is_dir()})


def _choices() -> list[str]:
    """The user's choices of groups, as far as they exist: they decide which keys are valid."""
    pairs = (argument.partition("=") for argument in sys.argv[1:])
    return [f"{g}={name}" for g, _, name in pairs if (CONF / g / f"{name}.yaml").is_file()]


def _options(group: str, *, deep: bool = False) -> list[str]:
    """The files of a group, without or with those in its folders."""
    folder = CONF / group
    files = folder.rglob("*.yaml") if deep else folder.glob("*.yaml")
    return [str(path.relative_to(folder).with_suffix("")) for path in files]
