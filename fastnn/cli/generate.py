"""``fastnn generate``."""

import sys
from pathlib import Path

import click

from fastnn.cli import options

#: Values written at a time, so that a Ctrl-C and the bar get their turn.
_CHUNK_VALUES = 1 << 18


#: The end of the help page; \b keeps its lines.
EXAMPLES = """
\b
Example:
  fastnn generate --data spirals --rows 100000 -o spirals.csv
  fastnn train spirals.csv --target target
"""


@click.command(epilog=EXAMPLES, short_help="Write a synthetic data set to a file.")
@click.option(
    "--data", type=options.SOURCE, default="moons", show_default=True, help="What to draw from."
)
@click.option(
    "--rows",
    type=options.COUNT,
    metavar="N",
    default=1_000_000,
    show_default=True,
    help="How many rows to draw.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    metavar="N",
    default=0,
    show_default=True,
    help="Row i of a seed is the same however many rows are drawn.",
)
@click.option(
    "--dtype",
    type=options.PRECISION,
    default="float32",
    show_default=True,
    help="Precision of the numbers in the file.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    required=True,
    help="A .csv, .tsv, .npy or .npz file; the target is its last column, called target.",
)
@options.json_option
@options.quiet_option
def generate(
    data: str, rows: int, seed: int, dtype: str, output: Path, as_json: bool, quiet: bool
) -> None:
    """Write a synthetic data set to a file, and say how well it can be learned."""
    from tqdm import tqdm

    from fastnn.cli.display import print_json, print_table
    from fastnn.datasets import TableWriter, make_source

    options.output_file(output, [".csv", ".tsv", ".npy", ".npz"])
    source = make_source(data, seed=seed)
    chunk = max(1, _CHUNK_VALUES // source.n_features)
    hidden = quiet or not sys.stderr.isatty()
    with (
        TableWriter(output, rows, source.n_features, dtype=dtype) as writer,
        tqdm(total=rows, unit=" rows", unit_scale=True, disable=hidden) as bar,
    ):
        for X, y in source.chunks(rows, chunk, dtype):
            writer.write(X, y)
            bar.update(len(y))
    result = {
        "data": data,
        "rows": rows,
        "features": source.n_features,
        "classes": source.n_classes,
        "seed": seed,
        "best_accuracy": source.best_accuracy,
        "best_loss": source.best_loss,
        "output": output,
    }
    if as_json:
        return print_json(result)
    print_table(
        [
            ("data", f"{data}: {rows:,} rows, {source.n_features} features, "
                     f"{source.n_classes} classes, seed {seed}"),
            ("best reachable accuracy", f"{source.best_accuracy:.4f}"),
            ("best reachable log loss", f"{source.best_loss:.4f}"),
            ("file", str(output)),
        ]
    )  # fmt: skip
