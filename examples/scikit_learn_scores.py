"""Test score and time to fit beside scikit-learn's, same settings, on five tables."""

import sys
import time
import warnings
from pathlib import Path

import numpy as np
import sklearn.linear_model
import sklearn.neural_network
from matplotlib import pyplot as plt
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_wine,
    make_friedman1,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import fastnn

PICTURE = Path(__file__).parent / "pictures" / "scikit_learn_scores.png"
ROUNDS = 3


def houses(n=8000):
    """Return a table like California's house prices: skewed, noisy, a function of eight features.

    Friedman's function with heteroscedastic noise, and four features without effect.
    """
    rng = np.random.RandomState(0)
    X, y = make_friedman1(n, n_features=8, random_state=0)
    return X, y / 5 + 0.3 * np.exp(X[:, 0]) * rng.normal(size=n)


TABLES = {
    "digits": (lambda: load_digits(return_X_y=True), "Classifier"),
    "breast cancer": (lambda: load_breast_cancer(return_X_y=True), "Classifier"),
    "wine": (lambda: load_wine(return_X_y=True), "Classifier"),
    "diabetes": (lambda: load_diabetes(return_X_y=True), "Regressor"),
    "houses (synthetic)": (houses, "Regressor"),
}


def models(kind, epochs):
    """Return pairs of the same model, scikit-learn's and ours."""
    homes = (sklearn.neural_network, sklearn.linear_model)
    names = {"Classifier": ["MLPClassifier", "SGDClassifier", "LogisticRegression"]}
    for name in names.get(kind, ["MLPRegressor", "SGDRegressor"]):
        theirs = next(getattr(home, name) for home in homes if hasattr(home, name))
        settings = {} if name == "LogisticRegression" else {"random_state": 0}
        if name.startswith("MLP"):
            settings |= {"max_iter": epochs}
        yield name, theirs(**settings), getattr(fastnn, name)(**settings)


def fit(model, X, y):
    """Return how long it took."""
    start = time.perf_counter()
    model.fit(X, y)
    return time.perf_counter() - start


def main(picture=PICTURE, epochs="200"):
    labels, speedups = [], []
    print(
        "table               model                score: theirs     ours   s: theirs     ours     x"
    )
    for table, (load, kind) in TABLES.items():
        X, y = load()
        y = (y - y.mean()) / y.std() if kind == "Regressor" else y
        X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
        scaler = StandardScaler().fit(X_train)
        X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)
        for name, theirs, ours in models(kind, int(epochs)):
            fit(ours, X_train, y_train)  # compiles, or loads what was compiled before
            seconds = np.array(
                [[fit(model, X_train, y_train) for model in (theirs, ours)] for _ in range(ROUNDS)]
            )
            scores = [model.score(X_test, y_test) for model in (theirs, ours)]
            a, b = np.median(seconds, axis=0)
            speedups.append(np.median(seconds[:, 0] / seconds[:, 1]))
            labels.append(f"{table}\n{name}")
            print(
                f"{table:19} {name:20} {scores[0]:13.4f} {scores[1]:8.4f} {a:11.4f} {b:8.4f} "
                f"{speedups[-1]:5.1f}"
            )
    figure, ax = plt.subplots(figsize=(7, 5), layout="constrained")
    bars = ax.barh(labels, speedups, color="tab:blue")
    ax.bar_label(bars, fmt="%.1f", padding=3)
    ax.axvline(1, color="black", linewidth=1)
    ax.invert_yaxis()
    ax.tick_params(axis="y", labelsize=7)
    ax.margins(x=0.1)
    ax.set(xlabel="times as fast to fit as scikit-learn, same settings")
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    warnings.simplefilter("ignore", ConvergenceWarning)  # as scikit-learn's defaults have it
    main(*sys.argv[1:])
