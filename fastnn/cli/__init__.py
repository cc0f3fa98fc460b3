"""The command ``fastnn``: data in, trained networks and predictions out.

Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted.  What a command was asked for goes to
stdout, everything said on the way to stderr.  Modules load what a command needs when it runs, so
that ``fastnn --help`` answers at once.
"""

from typing import Any

import click

import fastnn
from fastnn.cli.bench import bench
from fastnn.cli.explain import explain
from fastnn.cli.generate import generate
from fastnn.cli.predict import predict
from fastnn.cli.train import train
from fastnn.cli.warmup import warmup

INTERRUPTED = 130

#: Errors of the operating system that the user's own arguments cause.
_BAD_PATHS = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)


class _Commands(click.Group):
    """A group whose commands' errors are one line each, with the right exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # click ends quietly
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(INTERRUPTED)
        except MemoryError as error:
            raise _failure(f"not enough memory: {error}", 1) from None
        except OSError as error:
            reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            raise _failure(reason, 2 if isinstance(error, _BAD_PATHS) else 1) from None
        except (ValueError, TypeError, ImportError) as error:
            raise _failure(str(error), 2) from None


def _failure(message: str, code: int) -> click.ClickException:
    """Return what click shows as one line ``Error: message`` before it exits with ``code``."""
    failure: Any = click.ClickException(" ".join(message.split()))
    failure.exit_code = code
    return failure


#: The end of the help page; \b keeps its lines.
EXAMPLES = """
\b
Examples:
  fastnn train                             a million synthetic rows
  fastnn train iris.csv --target species   your own table
  fastnn predict iris-model.safetensors new.csv
"""


@click.group(
    cls=_Commands, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(fastnn.__version__, prog_name="fastnn")
def main() -> None:
    """Train small neural networks, fast, and use them.

    Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted.
    """


for command in (train, predict, explain, generate, bench, warmup):
    main.add_command(command)
