"""What the options of several commands have in common."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click


class OneOf(click.ParamType):
    """One of some names, which are looked up only when they are needed."""

    name = "name"

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        self._names = names

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """Return the name, or fail with the list of those accepted."""
        names = list(self._names())
        if value not in names:
            self.fail(f"{value!r} is not one of {', '.join(names)}", param, ctx)
        return value

    def get_metavar(self, param: Any, ctx: Any = None) -> str:
        """Return the names for the help page."""
        return f"[{'|'.join(self._names())}]"


class Widths(click.ParamType):
    """Widths of hidden layers, ``64,32``; ``none`` for a single neuron (or one per class)."""

    name = "widths"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        """Return the widths."""
        if not isinstance(value, str):
            return value
        if value.strip().lower() == "none":
            return ()
        parts = [part.strip() for part in value.split(",")]
        if not all(part.isascii() and part.isdecimal() and int(part) > 0 for part in parts):
            self.fail(f"{value!r} is not a list of widths such as 64,32 (or none)", param, ctx)
        return tuple(map(int, parts))


def _activations() -> Iterable[str]:
    from fastnn.kernels.activations import CODES

    return CODES


def _optimizers() -> Iterable[str]:
    from fastnn.kernels.optimizers import TABLE

    return TABLE


def _schedules() -> Iterable[str]:
    from fastnn.schedules import TABLE

    return TABLE


def _sources() -> Iterable[str]:
    from fastnn.datasets import SYNTHETIC

    return SYNTHETIC


def _precisions() -> Iterable[str]:
    return ("float32", "float64")


ACTIVATION = OneOf(_activations)
OPTIMIZER = OneOf(_optimizers)
SCHEDULE = OneOf(_schedules)
SOURCE = OneOf(_sources)
PRECISION = OneOf(_precisions)

INPUT_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
COUNT = click.IntRange(min=1, max=2**48)
RATE = click.FloatRange(min=0, min_open=True, max=float("inf"), max_open=True)

json_option = click.option(
    "as_json", "--json", is_flag=True, help="Print the result as one JSON object."
)


def _hush(ctx: click.Context, param: click.Parameter, quiet: bool) -> bool:
    """Keep the line about compiling kernels back."""
    if quiet:
        logging.getLogger("fastnn").setLevel(logging.ERROR)
    return quiet


quiet_option = click.option("--quiet", "-q", is_flag=True, callback=_hush, help="Show no progress.")
no_header_option = click.option(
    "--no-header", is_flag=True, help="The first line is data; columns are x0, x1, ..."
)


def output_file(path: Path, suffixes: Iterable[str]) -> Path:
    """Check that a file can be written, before the work that it is for.

    Raises
    ------
    click.BadParameter
        Another suffix, or no such folder.
    """
    if path.suffix.lower() not in suffixes:
        raise click.BadParameter(
            f"{path.name!r} must end in {' or '.join(suffixes)}", param_hint="'--output'"
        )
    if not path.parent.is_dir():
        raise click.BadParameter(
            f"there is no folder {str(path.parent)!r}", param_hint="'--output'"
        )
    if path.is_dir():
        raise click.BadParameter(f"{str(path)!r} is a folder", param_hint="'--output'")
    return path
