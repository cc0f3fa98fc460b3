"""Orders that are computed piece by piece: each a permutation, and trained on as if stored."""

import numpy as np
import pytest

from fastnn import MLPClassifier, Network, orders
from fastnn.orders import Shuffle, numbers_of

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("n", [1, 2, 3, 10, 97, 256, 1000])
def test_an_order_visits_every_row_once_however_it_is_cut(n):
    order = Shuffle(5, n)
    whole = order.rows(0, n)
    np.testing.assert_array_equal(np.sort(whole), np.arange(n))
    cut = [order.rows(start, min(start + 7, n)) for start in range(0, n, 7)]
    np.testing.assert_array_equal(np.concatenate(cut), whole)


@pytest.mark.parametrize("n", [1, 2, 7, 300])
def test_a_drawn_order_visits_every_row_once(n, monkeypatch):
    monkeypatch.setattr(orders, "FEW", 0)
    rng = np.random.default_rng(3)
    for present in (None, np.arange(0, 5 * n, 5)):
        order = orders.draw_order(rng, present, n)
        expected = np.arange(n) if present is None else present
        np.testing.assert_array_equal(np.sort(order), expected)
        assert order is not present
    again = orders.draw_order(np.random.default_rng(3), None, n)
    np.testing.assert_array_equal(again, orders.draw_order(np.random.default_rng(3), None, n))


def test_shuffles_look_random(monkeypatch):
    monkeypatch.setattr(orders, "FEW", 0)
    rng, n, draws = np.random.default_rng(0), 6, 3000
    drawn = np.array([orders.draw_order(rng, None, n) for _ in range(draws)])
    for time in range(n):  # each row is there equally often: chi-square, 5 degrees of freedom
        seen = np.bincount(drawn[:, time], minlength=n)
        assert ((seen - draws / n) ** 2 / (draws / n)).sum() < 30
    assert abs((np.diff(drawn, axis=1) == 1).mean() - 1 / n) < 0.02


def test_orders_look_random():
    n, keys = 10, 2000
    drawn = np.array([Shuffle(key, n).rows(0, n) for key in range(keys)])
    for time in range(n):  # each row is there equally often: chi-square, 9 degrees of freedom
        seen = np.bincount(drawn[:, time], minlength=n)
        assert ((seen - keys / n) ** 2 / (keys / n)).sum() < 40
    follows = (np.diff(drawn, axis=1) == 1).mean()
    assert abs(follows - 1 / n) < 0.02
    assert abs(np.corrcoef(np.arange(1000), Shuffle(3, 1000).rows(0, 1000))[0, 1]) < 0.1


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 1},
        {"batch_size": 7, "optimizer": "adam", "dropout": 0.3},
        {"batch_size": None, "sample_weight": np.linspace(0.5, 2, 50)},
    ],
)
def test_training_on_it_is_training_on_the_stored_order(options, monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((50, 3)), rng.integers(0, 2, 50)

    def fitted():
        net = Network([3, 4, 1], loss="log_loss", dtype="float64", random_state=0)
        net.fit(X, y, epochs=3, learning_rate=0.1, **options)
        return net.parameters

    stored = fitted()
    monkeypatch.setattr("fastnn.training._SLICE_FLOP", 2e4)  # slices of a few rows
    monkeypatch.setattr(orders, "STORED", 20)
    monkeypatch.setattr("fastnn.training.STORED", 20)
    computed = fitted()
    if options["batch_size"] is not None:
        assert (computed != stored).any()
    rows = Shuffle.rows
    monkeypatch.setattr(
        "fastnn.training.part_of", lambda order, start, stop: (rows(order, 0, order.n), 0)
    )
    np.testing.assert_allclose(computed, fitted(), rtol=1e-12)


def test_estimators_draw_the_same_order_in_half_the_memory(monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 3)), rng.integers(0, 2, 60)

    def fitted(**settings):
        model = MLPClassifier(4, solver="sgd", max_iter=3, tol=0, random_state=0, **settings)
        with pytest.warns(UserWarning, match="Maximum iterations"):
            return model.set_params(batch_size=7).fit(X, y).coefs_[0]

    settings = [{}, {"early_stopping": True}]
    expected = [fitted(**given) for given in settings]
    monkeypatch.setattr(orders, "STORED", 20)
    assert numbers_of(60).dtype == np.int32
    for given, coefs in zip(settings, expected, strict=True):
        np.testing.assert_array_equal(fitted(**given), coefs)
