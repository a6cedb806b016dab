"""The versions of everything that is measured, and of what measures."""

import importlib.metadata
import platform
import re
import subprocess

from failure import Failure
from postgres import find

_PACKAGES = ["fastapi", "uvicorn", "uvloop", "httptools", "asyncpg"]
_PACKAGES += ["Django", "djangorestframework", "gunicorn", "psycopg", "grpcio"]


def text(tokend, environment):
    """Returns all versions on a few lines. A program that is not installed is left out."""
    programs = {
        "tokend": [tokend, "--version"],
        "OpenBao": [environment / "bin/bao", "version"],
        "PostgreSQL": [_or_nothing("postgres"), "--version"],
        "Redis": ["redis-server", "--version"],
        "h2load": ["h2load", "--version"],
    }
    found = {name: _printed(command) for name, command in programs.items()}
    packages = next((environment / "lib").glob("python*/site-packages"))
    installed = {
        distribution.name: distribution.version
        for distribution in importlib.metadata.distributions(path=[str(packages)])
    }
    found |= {"Python": platform.python_version()} | {name: installed.get(name) for name in _PACKAGES}
    return ", ".join(f"{name} {version}" for name, version in found.items() if version)


def _or_nothing(name):
    """Returns the path of a program of PostgreSQL, or its name if there is none."""
    try:
        return find(name)
    except Failure:
        return name


def _printed(command):
    """Returns the version that a program prints, or nothing if there is no such program."""
    try:
        done = subprocess.run(command, timeout=20, capture_output=True, check=False)
    except FileNotFoundError:
        return None
    version = re.search(r"\d+(\.\d+)+", done.stdout.decode(errors="replace"))
    return version and version.group(0)
