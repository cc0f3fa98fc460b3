"""What ``asv publish`` adds to its pages: a page of commits, and the libraries they load.

asv finds this file as a plugin, by ``asv.conf.json``.  There ``show_commit_url`` is the page of
commits and an anchor, so links to commits work wherever the pages are, without a host of
repositories.
"""

import html
import re
import shutil
import subprocess
from pathlib import Path

from asv.publishing import OutputPublisher

#: asv's pages link to the shortened hash, its feed to the whole one.
_COMMIT = """<section id="{short}">
<h2 id="{hash}">{subject}</h2>
<p><code>{hash}</code>, {date}</p>
<pre>{body}</pre>
<pre>{changes}</pre>
</section>
"""
_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Commits of {project}</title>
<style>
body {{ font-family: sans-serif; margin: 2em auto; max-width: 60em }}
pre {{ white-space: pre-wrap }}
section {{ border-top: 1px solid #ccc }}
section:target {{ background: #ffc }}
</style>
<h1>Commits of {project}</h1>
{commits}</html>
"""

#: Where the pages' scripts and styles lie in ``node_modules``, by the file's name on the web.
_LIBRARIES = {
    "jquery-3.3.1.min.js": "jquery/dist/jquery.min.js",
    "jquery.flot.min.js": "flot/jquery.flot.js",
    "jquery.flot.time.min.js": "flot/jquery.flot.time.js",
    "jquery.flot.selection.min.js": "flot/jquery.flot.selection.js",
    "jquery.flot.categories.min.js": "flot/jquery.flot.categories.js",
    "jquery.flot.orderBars.js": "flot-orderbars/js/jquery.flot.orderBars.js",
    "stupidtable.min.js": "stupid-table-plugin/stupidtable.min.js",
    "md5.min.js": "blueimp-md5/js/md5.min.js",
    "bootstrap.min.js": "bootstrap/dist/js/bootstrap.min.js",
    "bootstrap.min.css": "bootstrap/dist/css/bootstrap.min.css",
}
_ADDRESS = re.compile(r'(src|href)="https://[^"]*/([^"/]+\.(?:js|css))"( integrity="[^"]*")?')


class Commits(OutputPublisher):
    """Write ``commits.html``: what each published commit says and which files it changes."""

    name = "commits"
    button_label = "Commits"
    description = "What each commit says and changes"

    @classmethod
    def publish(cls, conf, repo, benchmarks, graphs, revisions):
        newest_first = sorted(revisions, key=revisions.get, reverse=True)
        sections = "".join(
            _section(commit, commit[: conf.hash_length], conf.repo) for commit in newest_first
        )
        page = _PAGE.format(project=html.escape(conf.project), commits=sections)
        Path(conf.html_dir, "commits.html").write_text(page, encoding="utf-8")


def _section(commit, short, repository):
    command = ["git", "-C", repository, "show", "--format=%s%x00%cs%x00%b%x00", "--stat", commit]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    subject, date, body, changes = map(html.escape, map(str.strip, shown.split("\0")))
    return _COMMIT.format(
        hash=commit, short=short, subject=subject, date=date, body=body, changes=changes
    )


class Libraries(OutputPublisher):
    """Let the pages load scripts and styles from beside them, where npm has installed them."""

    name = "libraries"
    button_label = "Libraries"
    description = "Scripts and styles"

    @classmethod
    def publish(cls, conf, repo, benchmarks, graphs, revisions):
        modules = Path(__file__).parent / "node_modules"
        if not modules.is_dir():
            return  # the pages load them from the web
        index = Path(conf.html_dir, "index.html")
        folder = index.parent / "libraries"
        folder.mkdir()
        for name, place in _LIBRARIES.items():
            shutil.copy(modules / place, folder / name)
        index.write_text(_ADDRESS.sub(r'\1="libraries/\2"', index.read_text("utf-8")), "utf-8")
