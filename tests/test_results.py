"""What comes out in the end: accuracy beside scikit-learn's, coefficients beside the true ones."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
import sklearn.neural_network
from click.testing import CliRunner
from sklearn.exceptions import ConvergenceWarning

from fastnn import LogisticRegression
from fastnn.cli import main
from fastnn.cli.data import from_file
from fastnn.datasets import LogisticModel, write_table

SEEDS = range(4)


def trained(file, seed):
    """Return the result of ``fastnn train FILE --target label``, all else by default."""
    arguments = [file, "--target", "label", "--seed", str(seed), "--json", "--no-plot", "--quiet"]
    outcome = CliRunner().invoke(main, ["train", *arguments], catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.stderr
    return json.loads(outcome.stdout)


def accuracy_of_scikit_learn(file, seed):
    """Return the test accuracy of its `MLPClassifier` with the same settings on the same rows."""
    problem = from_file(
        Path(file), "label", task=None, header=True, dtype="float32", seed=seed,
        test_fraction=0.2, validation_fraction=0.1,
    )  # fmt: skip
    X, y = (
        np.concatenate([getattr(problem.train, name), getattr(problem.validation, name)])
        for name in ("X", "y")
    )
    model = sklearn.neural_network.MLPClassifier(
        (64, 32),
        learning_rate_init=0.004,
        alpha=0.0,
        batch_size=max(len(problem.train.y) // 100, 16),
        max_iter=200,
        early_stopping=True,
        validation_fraction=len(problem.validation.y) / len(y),
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((X - problem.feature_mean) / problem.feature_scale, y)
    test = (problem.test.X - problem.feature_mean) / problem.feature_scale
    return model.score(test, problem.test.y)


@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
def test_two_commands_are_as_accurate_as_scikit_learn(name, tmp_path, monkeypatch):
    """Within one point, on the mean of a few splits: of one, a point is one to four rows."""
    monkeypatch.chdir(tmp_path)
    data = getattr(sklearn.datasets, f"load_{name}")()
    features = [str(feature).replace(" ", "_") for feature in data.feature_names]
    file = f"{name}.csv"
    write_table(
        file, data.data, data.target_names[data.target], feature_names=features, target_name="label"
    )
    ours, theirs = [], []
    for seed in SEEDS:
        ours.append(trained(file, seed)["test_accuracy"])
        theirs.append(accuracy_of_scikit_learn(file, seed))
    assert np.mean(ours) > 0.95
    assert np.mean(ours) >= np.mean(theirs) - 0.01


@pytest.mark.parametrize("solver", ["lbfgs", "saga"])
def test_the_coefficients_of_the_logistic_set_are_recovered(solver):
    """Without a penalty, within three standard errors, which the Fisher information gives."""
    source = LogisticModel(intercept=0.5, seed=4)
    X, y = source.rows(0, 20_000, "float64")
    model = LogisticRegression(C=np.inf, solver=solver, tol=1e-6, random_state=0).fit(X, y)
    with_one = np.column_stack([X, np.ones(len(X))])
    a = model.predict_proba(X)[:, 1]
    information = (with_one * (a * (1 - a))[:, None]).T @ with_one
    errors = np.sqrt(np.diag(np.linalg.inv(information)))
    found = np.append(model.coef_[0], model.intercept_)
    true = np.append(source.coef, source.intercept)
    assert np.abs(true).max() > 30 * errors.max()  # the errors are small: the test can fail
    assert np.abs((found - true) / errors).max() < 3
