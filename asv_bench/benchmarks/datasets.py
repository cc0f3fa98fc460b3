"""Generation of synthetic rows."""

from fastnn.datasets import SYNTHETIC


class Rows:
    """100 000 rows of each source."""

    params = [list(SYNTHETIC)]
    param_names = ["source"]

    def setup(self, source):
        """Compile the kernels."""
        self.source = SYNTHETIC[source]()
        self.source.rows(0, 10)

    def time_rows(self, source):
        """Time features and labels."""
        self.source.rows(0, 100_000)

    def peakmem_rows(self, source):
        """Memory of the process at its peak."""
        self.source.rows(0, 100_000)
