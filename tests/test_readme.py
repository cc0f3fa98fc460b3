"""What the README says is so: its Python runs, its tables are the kernels'."""

import re
import shlex

import pytest
from readme_tables import README, split, tables

pytestmark = pytest.mark.skipif(not README.exists(), reason="no README beside the tests")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), flags=re.DOTALL)


def test_tables_are_those_of_the_kernels():
    """``python tests/readme_tables.py`` brings them up to date."""
    assert split(README.read_text())[1] == tables()


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_python_runs(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks("python")[number], f"README block {number}", "exec"), {})


def test_opens_with_two_commands():
    """Each is one line that needs nothing but Python: the first trains, the second tests."""
    first, second = blocks("sh")[:2]
    for command in (first, second):
        words = shlex.split(command)
        assert command.count("\n") == 1
        assert words[:4] == ["python3", "-m", "venv", ".venv"]
    assert first.strip().endswith(".venv/bin/fastnn train")
    assert second.strip().endswith(".venv/bin/python -m pytest")
    assert README.read_text().index(second) < 800
