"""asv's pages in headless Chromium: ``dashboard.py HTML FOLDER BENCHMARK...`` takes pictures.

HTML is what ``asv publish`` wrote.  Needs selenium, Chromium and its driver.
"""

import contextlib
import functools
import http.server
import sys
import tempfile
import threading
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--window-size=1300,900",
]  # fmt: skip
#: Seconds that a page may take.
PATIENCE = 60
#: Points that a graph shows, over all its lines.
POINTS = "return $('#main-graph').data('plot').getData().map(line => line.data)"


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Pages:
    """The pages of a folder, served and shown."""

    def __init__(self, browser, address):
        self.browser = browser
        self.address = address

    def open(self, place=""):
        """Open "#/regressions", "#benchmark?parameters" or another file, from nothing."""
        self.browser.get("about:blank")
        self.browser.get(self.address + place)

    def wait(self, script):
        """Return the first result of a script that is true, and not empty."""
        return WebDriverWait(self.browser, PATIENCE).until(
            lambda browser: browser.execute_script(script)
        )

    def grid(self):
        """Open the summary; return the benchmarks drawn.  What has been out of sight is not."""
        self.open()
        drawn = self.wait(
            "const boxes = $('.benchmark-container');"
            "boxes.each((_, box) => box.scrollIntoView());"
            "const drawn = boxes.filter(':has(canvas)');"
            "return drawn.length && drawn.map((_, box) => $(box).attr('href').slice(1)).get()"
        )
        self.browser.execute_script("window.scrollTo(0, 0)")
        return drawn

    def graph(self, benchmark, parameters=""):
        """Open a benchmark's graph; return its lines, each a list of points."""
        self.open(f"#{benchmark}{parameters}")
        self.wait("return $('#main-graph canvas').length && $('#main-graph').data('plot') != null")
        return self.browser.execute_script(POINTS)

    def switch(self, value):
        """Press the button of a parameter's value; return the lines of the graph then."""
        before = self.browser.execute_script(POINTS)
        self.browser.find_element(By.XPATH, f"//a[normalize-space()={value!r}]").click()
        self.wait(
            "const lines = $('#main-graph').data('plot').getData().map(line => line.data);"
            f"return JSON.stringify(lines) != JSON.stringify({before!r})"
        )
        return self.browser.execute_script(POINTS)

    def regressions(self):
        """Open the page of regressions; return (benchmark, address of the commit) of each row."""
        self.open("#/regressions")
        self.wait("return $('#regressions-display table tbody tr').length")
        return self.browser.execute_script(
            "return $('#regressions-display table tbody tr').map((_, row) => [["
            "$(row).find('td').eq(0).text(), $(row).find('a[href*=\"commits.html\"]').attr('href')"
            "]]).get()"
        )

    def save(self, path):
        self.browser.save_screenshot(str(path))


@contextlib.contextmanager
def shown(folder):
    """Serve a folder on this machine, and show it; yields `Pages`."""
    handler = functools.partial(_Silent, directory=str(folder))
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = webdriver.ChromeOptions()
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        browser = webdriver.Chrome(options)
        try:
            yield Pages(browser, f"http://127.0.0.1:{server.server_port}/")
        finally:
            browser.quit()
            server.shutdown()


def main(html, folder, *benchmarks):
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    with shown(html) as pages:
        pages.grid()
        pages.save(folder / "grid.png")
        for name in benchmarks:
            pages.graph(name)
            pages.save(folder / f"{name}.png")
        pages.open("commits.html")
        pages.save(folder / "commits.png")
        print(*pages.regressions(), sep="\n")
        pages.save(folder / "regressions.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
