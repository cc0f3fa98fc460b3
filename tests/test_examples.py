"""The examples run as they are, and each leaves its picture."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
FOLDER = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.py"))
#: Arguments behind the picture's name that make a long run short.
SHORTER = {"ten_million_rows.py": ["200000"], "scikit_learn_scores.py": ["3"]}

pytestmark = pytest.mark.skipif(not SCRIPTS, reason="no examples beside the tests")


@pytest.mark.parametrize("script", SCRIPTS)
def test_example(script, tmp_path):
    picture = tmp_path / "picture.png"
    done = subprocess.run(
        [sys.executable, FOLDER / script, picture, *SHORTER.get(script, [])],
        env={**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": str(FOLDER.parent)},
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # The one line of whoever is the first to use a kernel on this machine.
    said = done.stderr.splitlines()
    assert [line for line in said if not line.startswith("fastnn compiles its kernels")] == []
    assert done.stdout.strip()
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_every_example_has_its_picture_in_the_gallery():
    text = (FOLDER / "README.md").read_text()
    shown = re.findall(r"!\[[^\]]+\]\((pictures/[^)]+)\)", text)
    assert sorted(shown) == [f"pictures/{name[:-3]}.png" for name in SCRIPTS]
    for name in SCRIPTS:
        assert f"({name})" in text
    for picture in shown:
        assert (FOLDER / picture).exists()
