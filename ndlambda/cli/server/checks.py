"""The checks of ``ndlambda doctor``, one function each."""

import importlib.metadata
import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from ndlambda import __version__
from ndlambda.cli.connection import ServerOptions
from ndlambda.client import RetryPolicy
from ndlambda.errors import NDLambdaError

_ONCE: Final = RetryPolicy(attempts=1)
_MIN_PYTHON: Final = (3, 11)
_AWS_VARIABLES: Final = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE")


@dataclass(frozen=True, slots=True)
class DoctorCheck:
    """The result of one check; ``remedy`` says what to do if it failed."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


Checker: TypeAlias = Callable[[ServerOptions, Mapping[str, str]], Iterator[DoctorCheck]]


def check_python(_: ServerOptions, __: Mapping[str, str]) -> Iterator[DoctorCheck]:
    """Check the interpreter."""
    ok = sys.version_info >= _MIN_PYTHON
    yield DoctorCheck("python", ok, platform.python_version(), "Use Python 3.11 or later.")


def check_libraries(_: ServerOptions, __: Mapping[str, str]) -> Iterator[DoctorCheck]:
    """Check that every required library is installed, by the package's metadata."""
    yield DoctorCheck("ndlambda", True, __version__)
    missing, found = [], []
    for name in _required_libraries():
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    text = f"missing: {', '.join(missing)}" if missing else ", ".join(found)
    yield DoctorCheck("libraries", not missing, text, "Run: pip install 'ndlambda[local]'")


def _required_libraries() -> list[str]:
    try:
        requirements = importlib.metadata.requires("ndlambda") or []
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        return ["blosc", "blosc2", "click", "h5py", "nibabel", "numpy", "pillow", "tifffile"]
    plain = (item for item in requirements if "extra" not in item or "extra == 'local'" in item)
    return sorted({re.split(r"[^A-Za-z0-9_.-]", item, maxsplit=1)[0] for item in plain})


def check_libblosc2(_: ServerOptions, __: Mapping[str, str]) -> Iterator[DoctorCheck]:
    """Check that the library that decodes parts of cuboids can be loaded."""
    from ndlambda.cuboids.libblosc2 import thread_decoder

    try:
        thread_decoder()
    except (NDLambdaError, OSError) as error:
        yield DoctorCheck("libblosc2", False, str(error), "Run: pip install blosc2")
    else:
        yield DoctorCheck("libblosc2", True, "loads")


def check_data_folder(connection: ServerOptions, _: Mapping[str, str]) -> Iterator[DoctorCheck]:
    """Check the data folder, if given: writable, its entries, and who can read the key."""
    folder = connection.data
    if folder is None:
        return
    name = "data folder"
    try:
        with tempfile.TemporaryFile(dir=folder):
            entries = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        remedy = "Set --data to the folder of `ndlambda serve`, and make it writable."
        yield DoctorCheck(name, ok=False, found=f"{folder}: {error.strerror}", remedy=remedy)
        return
    yield DoctorCheck(name, ok=True, found=f"{folder}: {', '.join(entries) or 'empty'}")
    key = folder / "admin.key"
    if key.exists():
        mode = key.stat().st_mode & 0o777
        private = os.name != "posix" or mode & 0o077 == 0
        yield DoctorCheck("admin key", private, f"mode {mode:o}", f"Run: chmod 600 {key}")


def check_server(connection: ServerOptions, _: Mapping[str, str]) -> Iterator[DoctorCheck]:
    """Check that the server answers and accepts the key."""
    try:
        client = connection.client(_ONCE)
        version = client.healthz().get("version", "unknown")
    except NDLambdaError as error:
        data = "" if connection.data is None else f" --data {connection.data}"
        remedy = f"Start it with `ndlambda serve{data}`, or set --url."
        yield DoctorCheck("server", ok=False, found=error.message, remedy=remedy)
        return
    yield DoctorCheck("server", ok=True, found=f"{client.url} runs ndlambda {version}")
    try:
        user, superuser = client.server.get("user"), client.server.get("superuser")
    except NDLambdaError as error:
        remedy = "Ask a superuser for `ndlambda user add`, or set --data."
        yield DoctorCheck("key", ok=False, found=error.message, remedy=remedy)
        return
    role = "superuser" if superuser else "user"
    text = f"{role} {user}" if connection.find_key() else "no key given: public data only"
    yield DoctorCheck("key", ok=True, found=text)


def check_aws(_: ServerOptions, environ: Mapping[str, str]) -> Iterator[DoctorCheck]:
    """Report where AWS credentials would come from; a local server needs none."""
    sources = [name for name in _AWS_VARIABLES if environ.get(name)]
    home = Path(environ.get("HOME", "~")).expanduser()
    shared = Path(environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws" / "credentials")
    if shared.is_file():
        sources.append(str(shared))
    text = ", ".join(sources) or "none (needed on AWS only)"
    yield DoctorCheck("AWS credentials", ok=True, found=text)


CHECKERS: Final[tuple[Checker, ...]] = (
    check_python,
    check_libraries,
    check_libblosc2,
    check_data_folder,
    check_server,
    check_aws,
)
