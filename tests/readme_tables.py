"""The README's tables, from the kernels' own: ``python tests/readme_tables.py`` writes them."""

from pathlib import Path

from fastnn import initializers, schedules
from fastnn.kernels import activations, losses, optimizers

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- tables: written by tests/readme_tables.py -->\n", "<!-- end of tables -->"


def _table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _code(text):
    """Return a formula as code; a bar would end the table's cell."""
    return f"`{text}`".replace("|", "\\|")


def tables():
    """Return the tables as Markdown."""
    aliases = {name: alias for alias, name in activations.ALIASES.items()}
    of_activations = [
        [
            f"`{name}`" + (f", `{aliases[name]}`" if name in aliases else ""),
            _code(row.formula),
            _code(row.derivative_formula),
        ]
        for name, row in activations.TABLE.items()
    ]
    of_losses = [
        [
            f"`{name}`",
            _code(row.formula),
            _code(row.link.formula),
            _code(row.delta_formula),
            "{} = {:g}".format(*row.parameter[:2]) if row.parameter else "",
        ]
        for name, row in losses.TABLE.items()
    ]
    of_optimizers = [
        [
            f"`{name}`",
            _code(row.formula),
            ", ".join(f"`{option}` = {spec[0]:g}" for option, spec in row.options.items()),
        ]
        for name, row in optimizers.TABLE.items()
    ]
    return "\n" + "\n".join(
        [
            _table(["activation", "a = f(z)", "da/dz"], of_activations),
            _table(["loss", "J", "prediction a", "dJ/dz", "parameter p"], of_losses),
            _table(["optimiser", "step", "parameters"], of_optimizers),
            "Initial weights: " + ", ".join(f"`{name}`" for name in initializers.TABLE) + ".",
            "Schedules: " + ", ".join(f"`{name}`" for name in schedules.TABLE) + ".\n",
        ]
    )


def split(text):
    """Return the README before, in and after the tables."""
    before, rest = text.split(BEGIN)
    inside, after = rest.split(END)
    return before, inside, after


if __name__ == "__main__":
    before, _, after = split(README.read_text())
    README.write_text(before + BEGIN + tables() + END + after)
