"""Pictures: what is drawn is what was given, on the axes that were given."""

import subprocess
import sys

import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.contour import ContourSet  # noqa: E402

from fastnn import MLPClassifier, MLPRegressor, Network, explain, functional, plot  # noqa: E402

rng = np.random.default_rng(0)
X = rng.normal(size=(120, 2))
Y = (X[:, 0] * X[:, 1] > 0).astype(int)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(params=["default", "dark_background"])
def style(request):
    with plt.style.context(request.param):
        yield request.param


def fitted(**options):
    net = Network([2, 5, 1], activation="tanh", loss="log_loss", random_state=0)
    return net, net.fit(X, Y, epochs=4, **options)


def pictures():
    """Return a call of every function, without its axes."""
    net, history = fitted(validation_data=(X, Y))
    flow = plot.GradientFlow(X, Y)
    fitted(callbacks=[flow])
    return {
        "loss_curve": lambda **ax: plot.loss_curve(history, **ax),
        "decision_boundary": lambda **ax: plot.decision_boundary(net, X, Y, resolution=20, **ax),
        "network": lambda **ax: plot.network(net, **ax),
        "activations": lambda **ax: plot.activations("gelu", **ax),
        "gradient_flow": lambda **ax: plot.gradient_flow(flow, **ax),
        "explain": lambda **ax: plot.explain(explain(net, X[0], Y[0]), **ax),
    }


def test_every_function_returns_the_axes_it_was_given(style):
    calls = pictures()
    assert set(calls) == {name for name in plot.__all__ if name[0].islower()}
    for call in calls.values():
        _, ax = plt.subplots()
        assert call(ax=ax) is ax
        made = call()
        assert made.figure is not ax.figure
        made.figure.canvas.draw()  # lays out all texts; a warning is an error


def contrast(first, second):
    """Return the contrast of two colours by WCAG 2.1, 1 to 21."""

    def luminance(color):
        parts = np.array(matplotlib.colors.to_rgb(color))
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722] + 0.05

    light, dark = sorted([luminance(first), luminance(second)], reverse=True)
    return light / dark


def test_lines_stand_out_from_the_ground(style):
    """The two first colours, which single lines use, have a contrast of 3 (WCAG 1.4.11)."""
    _, ax = plt.subplots()
    colors = plot.style.palette(ax)
    assert len(set(colors)) == len(colors) == 6
    for color in colors[:2]:
        assert contrast(color, ax.get_facecolor()) > 3


def test_loss_curve_draws_the_history():
    _, history = fitted(validation_data=(X, Y))
    ax = plot.loss_curve(history, best_loss=0.5)
    training, validation, best = ax.lines
    np.testing.assert_array_equal(training.get_ydata(), history.loss)
    np.testing.assert_array_equal(training.get_xdata(), np.arange(4) + 0.5)
    np.testing.assert_array_equal(validation.get_ydata(), history.validation_loss)
    np.testing.assert_array_equal(validation.get_xdata(), np.arange(4) + 1)
    assert set(best.get_ydata()) == {0.5}
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["training", "validation", "best reachable"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "mean loss")


def test_loss_curve_of_an_estimator():
    model = MLPClassifier((3,), max_iter=5, tol=0, random_state=0, n_iter_no_change=9)
    with pytest.warns(Warning, match="Maximum iterations"):
        model.fit(X, Y)
    np.testing.assert_array_equal(plot.loss_curve(model).lines[0].get_ydata(), model.loss_curve_)
    with pytest.raises(ValueError, match="has no loss_curve_"):
        plot.loss_curve(MLPClassifier())
    with pytest.raises(TypeError, match="takes a History or a fitted estimator, got int"):
        plot.loss_curve(3)


def test_live_loss_curve_draws_every_so_many_epochs_on_one_axes():
    seen = []

    class Counting(plot.LossCurve):
        def __call__(self, progress):
            super().__call__(progress)
            seen.append(len(self.ax.lines[0].get_xdata()) if self.ax else 0)

    live = Counting(every=3)
    Network([2, 1], loss="log_loss").fit(X, Y, epochs=7, callbacks=[live])
    assert seen == [0, 0, 3, 3, 3, 6, 7]
    assert len(plt.get_fignums()) == 1


def test_live_loss_curve_replaces_its_picture_in_a_notebook(monkeypatch):
    shown = []

    class Handle:
        def update(self, figure):
            shown.append("update")

    def display(figure, display_id):
        shown.append("new")
        return Handle()

    modules = {
        "IPython": type("module", (), {"get_ipython": staticmethod(lambda: object())}),
        "IPython.display": type("module", (), {"display": staticmethod(display)}),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    Network([2, 1], loss="log_loss").fit(X, Y, epochs=3, callbacks=[plot.LossCurve()])
    assert shown == ["new", "update", "update"]


def test_boundary_is_where_the_choice_changes():
    net = Network([2, 1], loss="log_loss", dtype="float64")
    net.parameters = [1.0, 1.0, 0.0]  # the line x0 = -x1
    ax = plot.decision_boundary(net, X, Y, resolution=50)
    line = next(found for found in ax.collections if isinstance(found, ContourSet))
    vertices = line.get_paths()[0].vertices
    np.testing.assert_allclose(vertices.sum(axis=1), 0, atol=0.02)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["0", "1"]


def test_boundary_takes_every_kind_of_model():
    pandas = pytest.importorskip("pandas")
    words = np.array(["no", "yes"])[Y]
    settings = {"max_iter": 3, "tol": 1e9, "random_state": 0, "n_iter_no_change": 1}
    model = MLPClassifier((3,), **settings).fit(X, words)
    ax = plot.decision_boundary(model, X, words, resolution=9)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["no", "yes"]
    ax = plot.decision_boundary(model, pandas.DataFrame(X, columns=["height", "width"]), words,
                                resolution=9)  # fmt: skip
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("height", "width")
    three = Network([2, 3], loss="cross_entropy", random_state=0)
    assert len(plot.decision_boundary(three, X, np.arange(120) % 3).get_legend().get_texts()) == 3
    values = MLPRegressor(hidden_layer_sizes=(3,), **settings).fit(X, X[:, 0])
    assert plot.decision_boundary(values, X, X[:, 0], resolution=9).figure.axes[1].get_ylabel()
    with pytest.raises(ValueError, match="rows of two features"):
        plot.decision_boundary(three, np.ones((4, 3)), np.ones(4))
    with pytest.raises(ValueError, match="X has 120 rows, but y has 3"):
        plot.decision_boundary(three, X, [0, 1, 2])


def test_network_draws_every_weight():
    net = Network([3, 4, 2], random_state=0)
    net.parameters[5] = 9
    ax = plot.network(net)
    lines = ax.collections[0]
    assert len(lines.get_segments()) == 3 * 4 + 4 * 2
    assert lines.get_linewidths()[-1] == max(lines.get_linewidths())  # the strongest on top
    np.testing.assert_allclose(lines.get_segments()[-1], [[0, 0], [1, 0.5]])  # W[0][1, 1]
    captions = {text.get_text() for text in ax.texts}
    assert captions == {"input\n3", "relu\n4", "output\n2"}


def test_wide_layers_are_shortened():
    ax = plot.network(Network([2, 1000, 1]), most=6)
    assert len(ax.collections[0].get_segments()) == 2 * 6 + 6
    assert "⋮" in {text.get_text() for text in ax.texts}
    with pytest.raises(ValueError, match="not fitted yet"):
        plot.network(MLPClassifier())


def test_activations_are_those_of_the_kernels():
    ax = plot.activations("tanh")
    value, slope = ax.lines
    z = value.get_xdata()
    np.testing.assert_array_equal(value.get_ydata(), np.float64(functional.activation("tanh", z)))
    expected = functional.activation_derivative("tanh", z)
    np.testing.assert_array_equal(slope.get_ydata(), expected)
    assert len(plot.activations()) == 10
    _, axes = plt.subplots(1, 2)
    assert list(plot.activations(["relu", "elu"], ax=axes)) == list(axes)
    with pytest.raises(ValueError, match="one Axes per name"):
        plot.activations(["relu", "elu", "tanh"], ax=axes)
    with pytest.raises(ValueError, match="names must be one of identity"):
        plot.activations("rleu")


def test_gradient_flow_records_the_norms_of_each_layer():
    flow = plot.GradientFlow(X, Y)
    net, _ = fitted(callbacks=[flow])
    assert np.shape(flow.norms) == (4, 2)
    gradient = net.gradients(X, Y)
    expected = [np.linalg.norm(gradient[:10]), np.linalg.norm(gradient[15:20])]
    np.testing.assert_allclose(flow.norms[-1], expected, rtol=1e-6)
    ax = plot.gradient_flow(flow)
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), np.array(flow.norms)[:, 1])
    assert ax.get_yscale() == "log"
    with pytest.raises(ValueError, match="pass a GradientFlow that was among the callbacks"):
        plot.gradient_flow(plot.GradientFlow(X, Y))


def test_explain_shows_the_numbers_of_the_step():
    net = Network([2, 1], loss="log_loss", dtype="float64")
    net.parameters = [0.5, -0.25, 0.1]
    trace = explain(net, [1.0, 2.0], 1, learning_rate=0.1)
    text = "\n".join(item.get_text() for item in plot.explain(trace).texts)
    layer = trace.layers[0]
    for name, value in [
        ("dJ/dz", layer.delta[0]), ("dJ/da", layer.dJ_da[0]), ("da/dz", layer.da_dz[0]),
        ("b_new", layer.b_new[0]),
    ]:  # fmt: skip
        assert f"{name} = {value:.3g}" in text
    assert f"{trace.loss:.3g}" in text
    with pytest.raises(TypeError, match=r"what fastnn\.explain returned, got Network"):
        plot.explain(net)


@pytest.mark.parametrize("size", [(4, 3), (9, 2), None])
def test_the_boxes_of_a_deep_network_keep_apart(size):
    net = Network([2, 6, 4, 1], activation="tanh", loss="log_loss", random_state=0)
    ax = plt.subplots(figsize=size)[1] if size else None
    ax = plot.explain(explain(net, [1.0, 2.0], 1), ax=ax)
    ax.figure.canvas.draw()
    boxes = [
        text.get_bbox_patch().get_window_extent() for text in ax.texts if text.get_bbox_patch()
    ]
    assert len(boxes) == 8 + 3
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def test_without_matplotlib_the_error_says_what_to_install():
    script = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "import fastnn\n"
        "try: fastnn.plot.loss_curve\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "fastnn.plot needs matplotlib: pip install '.[plot]'" in done.stdout
    assert done.stderr == ""


def test_bad_axes():
    with pytest.raises(TypeError, match="ax must be a matplotlib Axes or None, got int"):
        plot.activations("relu", ax=3)
