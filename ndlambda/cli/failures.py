"""The one place where whatever ends the command becomes a sentence and an exit code."""

import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import click

from ndlambda import errors

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C, as shells count: 128 and the number of the signal."""

_INTERRUPTED_TEXT: Final = "Interrupted."

_EXIT_CODES: Final[dict[type[errors.NDLambdaError], int]] = {
    errors.InvalidArgumentError: 2,
    errors.ValidationError: 2,
    errors.UnknownNameError: 2,  # what was asked for is in no list, rather than missing
    errors.RouteNotFoundError: 2,
    errors.MethodNotAllowedError: 2,
    errors.NotFoundError: 3,
    errors.PermissionDeniedError: 4,
    errors.AuthenticationError: 4,
    errors.ConflictError: 5,
    errors.PreconditionFailedError: 5,
}

_ROOT_ADVICE: Final = (
    "Check --url (or NDLAMBDA_URL): it is the root of a server, such as http://127.0.0.1:8080, "
    "without /sd or /v1."
)

_ADVICE: Final[dict[type[errors.NDLambdaError], str]] = {
    errors.AuthenticationError: "Set a key with --key, NDLAMBDA_KEY or --data.",
    errors.ReadOnlyChannelError: "Store the data in another channel.",
    errors.PermissionDeniedError: "Check the name, and the key with `ndlambda doctor`.",
    errors.RouteNotFoundError: _ROOT_ADVICE,
    errors.MethodNotAllowedError: _ROOT_ADVICE,
}

_BAD_PATHS: Final = (
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
_BAD_NAMES: Final = frozenset({errno.ENAMETOOLONG, errno.ELOOP})


def exit_code(error: errors.NDLambdaError) -> int:
    """Return 2 for bad arguments, 3 not found, 4 not allowed, 5 conflict, 1 for everything else."""
    found = (code for kind, code in _EXIT_CODES.items() if isinstance(error, kind))
    return next(found, 1)


@contextmanager
def reported(*, debug: bool) -> Iterator[None]:
    """Report whatever ends the code in this context as one sentence on standard error.

    Parameters
    ----------
    debug
        Whether to show the traceback, too.

    Raises
    ------
    SystemExit
        Always at a failure, with its exit code.
    """
    code = 0
    try:
        yield
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the place for the unexpected
        if debug:
            traceback.print_exc()
        code = _report(error)
    finally:
        _release_output()
    if code:
        sys.exit(code)


def _report(error: BaseException) -> int:
    """Print what happened, and return the exit code."""
    text, code = "", 1
    match error:
        case click.ClickException():
            error.show()
            return error.exit_code
        case BrokenPipeError():  # the reader of a pipe has ended, as `head` does
            return code
        case KeyboardInterrupt():
            text, code = _INTERRUPTED_TEXT, INTERRUPTED
        case click.Abort():  # a prompt that was answered by no, Ctrl-C or the end of the input
            text = "Aborted."
            if isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
                text, code = _INTERRUPTED_TEXT, INTERRUPTED
        case errors.NDLambdaError():
            text, code = _sentence(error), exit_code(error)
        case OSError():
            is_bad = isinstance(error, _BAD_PATHS) or error.errno in _BAD_NAMES
            text, code = _file_sentence(error), 2 if is_bad else 1
        case MemoryError():
            text = "This does not fit into memory; ask for less at once."
        case _:
            text = _unexpected(error)
    with suppress(OSError):  # standard error has no reader
        click.echo(f"ndlambda: {text}", err=True)
    return code


def _sentence(error: errors.NDLambdaError) -> str:
    advice = [_ADVICE[kind] for kind in type(error).__mro__ if kind in _ADVICE][:1]
    if error.details.get("status", 0) >= 500 and "instance" in error.details:
        advice.append(f"The server's log has the details under {error.details['instance']}.")
    return " ".join([*error.message.split(), *advice])


def _file_sentence(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    return reason if error.filename is None else f"{os.fsdecode(error.filename)}: {reason}."


def _unexpected(error: BaseException) -> str:
    reason = " ".join(str(error).split())
    said = type(error).__name__ + (f": {reason}" if reason else "")
    return (
        f"This is a fault of ndlambda and not yours ({said}). Run the command again with --debug, "
        "and report what it prints to the people who look after ndlambda."
    )


def _release_output() -> None:
    """Keep Python from writing at its end what cannot be written: no reader, or a full disk."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:  # noqa: PTH123
                os.dup2(nowhere.fileno(), stream.fileno())


def run(command: Callable[[], object], *, debug: bool) -> None:
    """Run a command line and end the process with its exit code.

    Standard output accepts any name: file names need not be text in its encoding.

    Raises
    ------
    SystemExit
        Always.
    """
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    with reported(debug=debug):
        code = command()
    sys.exit(code if isinstance(code, int) else 0)
