"""``fastnn predict``."""

import contextlib
import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from fastnn.cli import options

if TYPE_CHECKING:
    import numpy as np

    from fastnn.export import Model

#: Rows that are written at a time.
_BLOCK_ROWS = 1 << 14


#: The end of the help page; \b keeps its lines.
EXAMPLES = """
\b
Examples:
  fastnn predict iris-model.safetensors new.csv
  fastnn predict iris-model.safetensors new.csv --probabilities -o predicted.csv
"""


@click.command(epilog=EXAMPLES, short_help="Predict a table's rows with a saved model.")
@click.argument("model", type=options.INPUT_FILE)
@click.argument("file", type=options.INPUT_FILE)
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="A .csv file; by default stdout."
)
@click.option("--probabilities", is_flag=True, help="Add a column per class.")
@options.no_header_option
@options.json_option
def predict(
    model: Path,
    file: Path,
    output: Path | None,
    probabilities: bool,
    no_header: bool,
    as_json: bool,
) -> None:
    """Predict FILE's rows with a MODEL that `fastnn train` saved, as CSV.

    FILE must have the model's feature columns, by name and in any order; others, such as the
    target, are ignored.
    """
    from fastnn.cli.display import print_json
    from fastnn.export import Model, load

    if output is not None:
        options.output_file(output, [".csv"])
    loaded = load(model)
    if not isinstance(loaded, Model):
        raise ValueError(
            f"{model.name}: a bare network, which does not know the columns it was trained on; "
            "save a fastnn.Model"
        )
    if probabilities and loaded.classes is None:
        raise click.UsageError("--probabilities is for classes; this model is a regression.")
    X = _read(file, loaded, header=not no_header)
    header = ["prediction"]
    P = None
    if loaded.classes is not None and probabilities:
        P = loaded.predict_proba(X)
        predicted = loaded.classes[P.argmax(axis=1)]
        header += [f"probability_{label}" for label in loaded.classes]
    else:
        predicted = loaded.predict(X)
    if as_json:
        result: dict[str, Any] = {"rows": len(X), "target": loaded.target_name}
        result |= {"output": output} if output else {"predictions": predicted}
        if P is not None and not output:
            result |= {"classes": loaded.classes, "probabilities": P}
        print_json(result)
    if output is not None or not as_json:
        with _opened(output) as stream:
            _write(stream, header, _texts(predicted, loaded), P)
    if output is not None and not as_json:
        click.echo(f"{len(X):,} predictions are in {output}.", err=True)


def _read(file: Path, model: "Model", header: bool) -> "np.ndarray":
    """Return the model's features from a table, found by name."""
    from fastnn.datasets import read_table

    table = read_table(file, features=model.feature_names, dtype=model.network.dtype, header=header)
    for wanted, found in zip(model.feature_names, table.feature_names, strict=True):
        if wanted != found:  # a name such as "3" was taken for the number of a column
            raise ValueError(f"{file.name}: there is no column {wanted!r}, which the model needs")
    return table.X


@contextlib.contextmanager
def _opened(output: Path | None) -> Iterator[TextIO]:
    """Return stdout, or a file that gets its name once it is whole."""
    if output is None:
        yield sys.stdout
        return
    temporary = output.with_name(f".{output.name}.part")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)


def _texts(predicted: "np.ndarray", model: "Model") -> list[str]:
    """Return predictions as text, numbers with the digits that the model's precision has."""
    if model.classes is not None:
        return [str(label) for label in predicted]
    digits = 9 if model.network.dtype.name == "float32" else 17
    return [f"{value:.{digits}g}" for value in predicted]


def _write(stream: TextIO, header: list[str], predicted: list[str], P: "np.ndarray | None") -> None:
    """Write predictions as CSV."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    for first in range(0, len(predicted), _BLOCK_ROWS):
        block = slice(first, first + _BLOCK_ROWS)
        rows: Any = ([label] for label in predicted[block])
        if P is not None:
            shares = ([f"{p:.6g}" for p in row] for row in P[block].tolist())
            rows = ([*row, *share] for row, share in zip(rows, shares, strict=True))
        writer.writerows(rows)
