"""Looking inside: the trace of a step, and the checks of gradients."""

from benchmarks.problems import available, classes


class Inspect:
    """A network of 4-8-3, as a reader would look at."""

    def setup(self):
        self.net = available("fastnn:Network")([4, 8, 3], loss="cross_entropy", random_state=0)
        self.X, self.y = classes(4, 3, 50)

    def time_check_gradients(self):
        available("fastnn:check_gradients")(self.net, self.X, self.y)

    def time_explain(self):
        str(available("fastnn:explain")(self.net, self.X[0], self.y[0]))

    def time_input_gradients(self):
        available("fastnn:input_gradients")(self.net, self.X)
