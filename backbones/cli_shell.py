"""What the three command lines share: -h, --version, completion, signals, exit codes, errors in one sentence."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from typer.core import TyperGroup

from backbones.core.errors import FrostlineError
from backbones.core.outputs import made_by
from backbones.core.visible import visible

Command = TypeVar("Command", bound=Callable[..., None])
SHARES = "shares_work"
WAIT = 5.0  # seconds in which the first process has said why
BROKEN_PIPE = 141  # what a shell reports of a process that SIGPIPE ended


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, taken like Ctrl-C: what is done is saved.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def exit_code(stop: KeyboardInterrupt) -> int:
    """Return the exit code of a process that was stopped: 130, or 128 and the number of the signal."""
    return 128 + (stop.number if isinstance(stop, Terminated) else signal.SIGINT)


class Shell(TyperGroup):
    """A group of commands that end alike where they are stopped, or where nobody takes their output any more."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was given; raise FrostlineError where torchrun has started one that is for one process.

        The first process speaks for all; the others end with its exit code.
        """
        processes, rank = (int(os.environ.get(key) or default) for key, default in (("WORLD_SIZE", 1), ("RANK", 0)))
        if processes > 1 and not getattr(self._chosen(ctx), SHARES, False):
            if rank:
                time.sleep(WAIT)  # torchrun ends all of them with the one that ends first
                raise typer.Exit(FrostlineError.exit_code)
            raise FrostlineError(
                f"this command does its work in one process: started {processes} times by torchrun, it would do all of "
                f"it {processes} times over. Start it once, without torchrun; backbone pretrain is what shares work."
            )
        try:
            with stoppable():
                found = super().invoke(ctx)
                sys.stdout.flush()
                return found
        except BrokenPipeError:  # the reader of our output has gone, as with | head
            raise typer.Exit(BROKEN_PIPE) from None
        except KeyboardInterrupt as stop:
            complain("stopped")
            raise typer.Exit(exit_code(stop)) from None

    def _chosen(self, ctx: Any) -> Any:
        """Return the function behind the command that was given."""
        command, words = self, [*getattr(ctx, "_protected_args", ()), *ctx.args]
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]  # type: ignore[assignment]
        return command.callback


def shares(command: Command) -> Command:
    """Mark a command whose work the processes of torchrun share."""
    setattr(command, SHARES, True)
    return command


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into Terminated meanwhile; a second one does not disturb the saving of the first."""

    def terminate(number: int, _frame: FrameType | None) -> NoReturn:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise Terminated(number)

    wanted = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {each: held for each in wanted if (held := signal.getsignal(each)) is not signal.SIG_IGN}  # as by nohup
    for each in before:
        signal.signal(each, terminate)
    try:
        yield
    finally:
        for each, held in before.items():
            signal.signal(each, held)


def complain(text: str) -> None:
    """Print a line to standard error, if there is one still."""
    with suppress(OSError, ValueError):
        typer.echo(visible(text), err=True)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(made_by())
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", help="print the version", is_eager=True, callback=_version)]


def make_app(*, no_args_is_help: bool = True) -> typer.Typer:
    """Return an empty command line; its callback takes ``version: Version``."""
    return typer.Typer(
        cls=Shell,
        no_args_is_help=no_args_is_help,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def run(app: typer.Typer) -> None:
    """Run a command line to its exit code; an error that the user can mend is one sentence."""
    try:
        app()
    except FrostlineError as error:
        complain(f"error: {error}")
        sys.exit(error.exit_code)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ", as in writing to standard output"
        complain(f"error: {error.strerror or error}{place}.")
        sys.exit(FrostlineError.exit_code)
    finally:
        try:
            sys.stdout.flush()
        except (OSError, ValueError):  # Python flushes once more at its end, and would complain
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
