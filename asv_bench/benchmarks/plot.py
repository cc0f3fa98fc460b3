"""Pictures: what it takes to draw them."""

from benchmarks.problems import available, classes
from benchmarks.tables import PICTURES


class Pictures:
    """A picture laid out and drawn, every kind of them."""

    params = [PICTURES]
    param_names = ["picture"]

    def setup(self, picture):
        available("matplotlib:use")("Agg")
        self.subplots = available("matplotlib.pyplot:subplots")
        self.close = available("matplotlib.pyplot:close")
        available(f"fastnn.plot:{picture}")
        X, y = classes(2, 2, 100)
        net = available("fastnn:Network")(
            [2, 5, 1], activation="tanh", loss="log_loss", random_state=0
        )
        flow = available("fastnn.plot:GradientFlow")(X, y)
        history = net.fit(X, y, epochs=4, callbacks=[flow])
        options = {"resolution": 50} if picture == "decision_boundary" else {}
        trace = available("fastnn:explain")(net, X[0], y[0])
        what = {
            "loss_curve": (history,),
            "decision_boundary": (net, X, y),
            "network": (net,),
            "activations": ("gelu",),
            "gradient_flow": (flow,),
            "explain": (trace,),
        }[picture]
        self.draw = lambda ax: available(f"fastnn.plot:{picture}")(*what, ax=ax, **options)

    def time_draw(self, picture):
        figure, ax = self.subplots()
        self.draw(ax)
        figure.canvas.draw()
        self.close(figure)
