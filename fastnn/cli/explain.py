"""``fastnn explain``."""

from pathlib import Path

import click

from fastnn.cli import options

#: The end of the help page; \b keeps its lines.
EXAMPLES = """
\b
Examples:
  fastnn explain iris-model.safetensors iris.csv
  fastnn explain iris-model.safetensors iris.csv --row 7 --full
"""


@click.command(epilog=EXAMPLES, short_help="Show one training step, number by number.")
@click.argument("model", type=options.INPUT_FILE)
@click.argument("file", type=options.INPUT_FILE)
@click.option(
    "--row", type=click.IntRange(min=0), default=0, show_default=True, help="Row, from 0."
)
@click.option(
    "--learning-rate", type=options.RATE, default=0.01, show_default=True, help="alpha of the step."
)
@click.option("--layer", type=click.IntRange(min=0), help="Unfold one layer, from 0.")
@click.option("--full", is_flag=True, help="Unfold every layer.")
@options.no_header_option
def explain(
    model: Path,
    file: Path,
    row: int,
    learning_rate: float,
    layer: int | None,
    full: bool,
    no_header: bool,
) -> None:
    """Show the step of gradient descent that a row of FILE would make a saved MODEL take.

    FILE must have the model's feature columns and its target.  The model stays as it is.
    """
    from fastnn.datasets import read_table
    from fastnn.export import Model, load
    from fastnn.inspect.trace import explain as trace_step

    loaded = load(model)
    if not isinstance(loaded, Model):
        raise ValueError(
            f"{model.name}: a bare network, which does not know the columns it was trained on; "
            "save a fastnn.Model"
        )
    table = read_table(
        file,
        loaded.target_name,
        features=loaded.feature_names,
        task=loaded.task,
        dtype=loaded.network.dtype,
        header=not no_header,
    )
    labels = table.labels
    if labels is None:
        raise ValueError(f"{file.name}: there is no target {loaded.target_name!r}")
    if row >= len(labels):
        raise ValueError(f"--row must be below {len(labels)}, the rows of {file.name}; got {row}")
    trace = trace_step(loaded, table.X[row], labels[row], learning_rate=learning_rate)
    if layer is not None and layer >= len(trace.layers):
        raise ValueError(f"--layer must be below {len(trace.layers)}, the layers; got {layer}")
    if layer is not None:
        click.echo(trace.layer(layer))
    else:
        click.echo(trace.full() if full else str(trace))
