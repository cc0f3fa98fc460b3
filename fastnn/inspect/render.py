"""Steps of a derivation as aligned text, Markdown, LaTeX and HTML."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_MOST = 6  # entries of a row that are shown, and rows of a matrix
_BAR = r"\vert "  # a plain bar would end the cell of a Markdown table


@dataclass(frozen=True)
class Step:
    """One line: ``name = formula = numbers = value``.

    Attributes
    ----------
    tag : str
        Number of the line in the derivation ("N1" to "N10"), or empty.
    name, formula : str
        Left and right side in plain mathematical text; the formula may be empty.
    numbers : str
        The formula with its numbers put in, or empty.
    value : array or float
    """

    tag: str
    name: str
    formula: str
    numbers: str
    value: Any


@dataclass(frozen=True)
class Section:
    """A titled group of steps."""

    title: str
    steps: Sequence[Step]


def show(value: Any) -> str:
    """Return a number, or a vector in one line; a long one is shortened."""
    array = np.asarray(value)
    if array.ndim == 0:
        return f"{array + 0:.6g}"  # -0 becomes 0
    if array.ndim == 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 2:
        return "[" + ", ".join(_shortened([show(row) for row in array])) + "]"
    return "[" + ", ".join(_shortened([show(entry) for entry in array])) + "]"


def put_in(formula: str, **values: Any) -> str:
    """Return ``formula`` with numbers for its letters; empty where one is not a single number."""
    scalars = {name: np.asarray(value) for name, value in values.items()}
    used = {name for name in scalars if re.search(rf"\b{name}\b", formula)}
    if not used or formula in used or any(scalars[name].size != 1 for name in used):
        return ""

    def number(match: re.Match) -> str:
        return operand(scalars[match.group()])

    return re.sub(r"\b(" + "|".join(sorted(used)) + r")\b", number, formula)


def operand(value: Any) -> str:
    """Return a single number as it stands in a formula: a negative one in parentheses."""
    shown = show(np.reshape(value, ()))
    return f"({shown})" if shown.startswith("-") else shown


def as_text(sections: Sequence[Section]) -> str:
    """Return aligned plain text: columns of tag, name and formula, numbers, value."""
    rows = [_cells(step) for section in sections for step in section.steps]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines: list[str] = []
    for section in sections:
        lines += ["", section.title] if section.title else [""]
        for step in section.steps:
            cells = zip(_cells(step), widths, strict=True)
            start = "  ".join(f"{cell:<{width}}" for cell, width in cells if width) + "  = "
            values = _lines(step.value)
            lines.append(start + values[0])
            lines += [" " * len(start) + rest for rest in values[1:]]
    return "\n".join(lines[1:])


def _cells(step: Step) -> tuple[str, str, str, str]:
    formula = f"= {step.formula}" if step.formula else ""
    return step.tag, step.name, formula, f"= {step.numbers}" if step.numbers else ""


def as_markdown(sections: Sequence[Section]) -> str:
    """Return a Markdown table per section, with formulas between dollar signs."""
    parts = []
    for section in sections:
        if section.title:
            parts.append(f"**{section.title}**\n")
        parts.append("| | formula | with numbers | value |\n|---|---|---|---|")
        parts += [
            f"| {step.tag} | ${_equation(step).replace('|', _BAR)}$ | {_code(step.numbers)} "
            f"| {_code(show(step.value))} |"
            for step in section.steps
        ]
        parts.append("")
    return "\n".join(parts)


def _code(text: str) -> str:
    return f"`{text}`".replace("|", r"\|") if text else ""


def as_latex(sections: Sequence[Section]) -> str:
    """Return an ``aligned`` block of equations."""
    lines = []
    for section in sections:
        if section.title:
            lines.append(rf"&\textbf{{{section.title}}}")
        for step in section.steps:
            name, _, formula = _equation(step).partition(" = ")
            middle = f" = {formula}" if formula else ""
            tag = rf"\quad\text{{({step.tag})}}" if step.tag else ""
            lines.append(f"{name} &{middle} = {_latex_value(step.value)}{tag}")
    body = " \\\\\n".join(lines)
    return f"$$\\begin{{aligned}}\n{body}\n\\end{{aligned}}$$"


def as_html(sections: Sequence[Section], *, folded: bool = False) -> str:
    """Return a table per section, folded away under its title if ``folded``."""
    parts = []
    for section in sections:
        table = f"<table>{''.join(_html_row(step) for step in section.steps)}</table>"
        title = html.escape(section.title)
        if folded:
            parts.append(f"<details><summary>{title}</summary>{table}</details>")
        else:
            parts.append(f"<p><b>{title}</b></p>{table}" if title else table)
    return "".join(parts)


def _html_row(step: Step) -> str:
    cells = (
        step.tag,
        f"${html.escape(_equation(step))}$",
        html.escape(step.numbers),
        "<pre>" + html.escape("\n".join(_lines(step.value))) + "</pre>",
    )
    return "<tr>" + "".join(f"<td style='text-align:left'>{cell}</td>" for cell in cells) + "</tr>"


def to_latex(formula: str) -> str:
    """Translate the plain mathematical text of the tables."""
    text = re.sub(r"\bd(\w+)/d(\w+)", r"\\frac{\\partial \1}{\\partial \2}", formula)
    text = re.sub(r"\b([A-Za-z])_(new|old)\b", r"\1_{\\text{\2}}", text)
    text = re.sub(r"\b(exp|log|tanh|max)\b", r"\\\1", text)
    text = re.sub(r"\b(sigmoid|softmax|clip|sign)\b", r"\\operatorname{\1}", text)
    text = re.sub(r"\b(sum)_", r"\\\1_", text)
    text = re.sub(r"\b(alpha|delta|Phi|phi)\b", r"\\\1", text)
    text = re.sub(r" (if|else) ", r"\\text{ \1 }", text)
    text = re.sub(r"\^T\b", r"^\\top", text)
    return text.replace(">=", r"\ge").replace("<=", r"\le").replace(" * ", r" \cdot ")


def _equation(step: Step) -> str:
    name = to_latex(step.name)
    return f"{name} = {to_latex(step.formula)}" if step.formula else name


def _latex_value(value: Any) -> str:
    array = np.asarray(value)
    if array.ndim == 2 and array.shape[0] > 1:
        rows = _shortened([" & ".join(_shortened([show(x) for x in row])) for row in array])
        return "\\begin{bmatrix}" + r" \\ ".join(rows) + "\\end{bmatrix}"
    return re.sub(r"e([+-])0*(\d+)", r" \\times 10^{\1\2}", show(array)).replace("^{+", "^{")


def _lines(value: Any) -> list[str]:
    """Return a value as lines of text: a matrix takes one a row."""
    array = np.asarray(value)
    if array.ndim < 2 or array.shape[0] == 1:
        return [show(array)]
    shown = array if array.shape[0] <= _MOST else np.delete(array, slice(_MOST - 2, -1), 0)
    entries = [[show(entry) for entry in row] for row in shown]
    width = max(len(entry) for row in entries for entry in row)
    rows = ["[" + ", ".join(_shortened([f"{e:>{width}}" for e in row])) + "]" for row in entries]
    if array.shape[0] > _MOST:
        rows.insert(-1, "...")
    return rows


def _shortened(items: list[str]) -> list[str]:
    return items if len(items) <= _MOST else [*items[: _MOST - 2], "...", items[-1]]
