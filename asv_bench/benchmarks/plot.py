"""Pictures, drawn beside a fixed one."""

import numpy as np

from benchmarks import measure
from benchmarks.problems import available, classes
from benchmarks.tables import PICTURES


class Pictures:
    """A picture laid out and drawn, every kind of them."""

    params = [PICTURES]
    param_names = ["picture"]

    def setup(self, picture):
        available("matplotlib:use")("Agg")
        self.plt = available("matplotlib.pyplot:subplots")
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

    def drawn(self, draw):
        figure, ax = self.plt()
        draw(ax)
        figure.canvas.draw()
        self.close(figure)

    def time_draw(self, picture):
        self.drawn(self.draw)

    def track_draw_over_lines(self, picture):
        x = np.linspace(0, 1, 100)

        def lines(ax):
            for power in range(5):
                ax.plot(x, x**power, label=f"power {power}")
            ax.legend()

        return measure.ratio(lambda: lambda: self.drawn(self.draw), lambda: self.drawn(lines))

    track_draw_over_lines.unit = "x drawing five lines and a legend by matplotlib"
