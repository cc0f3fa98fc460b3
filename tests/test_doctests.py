"""The examples in the docstrings print what they say."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import fastnn

MODULES = [
    module.name
    for module in pkgutil.walk_packages(fastnn.__path__, "fastnn.")
    if module.name != "fastnn.__main__"
]
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    with np.printoptions(legacy=False):
        yield


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name.startswith("fastnn.plot"):
        pytest.importorskip("matplotlib").use("Agg")
    result = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert result.failed == 0


#: Public names without an example of their own, and why.
WITHOUT = {
    "History", "DivergenceWarning",  # what others return or raise
    "load",  # in the example of `save`
}  # fmt: skip


def test_every_public_name_has_an_example():
    for name in fastnn.__all__:
        found = getattr(fastnn, name)
        if callable(found) and name not in WITHOUT:
            assert ">>>" in (found.__doc__ or ""), f"fastnn.{name} has no example"
