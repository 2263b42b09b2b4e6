"""Checks of the clients that run in Python: one line each, `ok` or `FAILED`, which scripts/clients
counts."""

import sys
import traceback
from contextlib import contextmanager

_failed = 0


def equal(name, found, expected):
    """The check that two values are the same, type included."""
    report(name, type(found) is type(expected) and found == expected,
           f"found {found!r}, expected {expected!r}")


def report(name, holds, otherwise=""):
    """A check by its outcome."""
    global _failed
    if holds:
        print(f"ok {name}", flush=True)
    else:
        _failed += 1
        print(f"FAILED {name}: {otherwise}", flush=True)


@contextmanager
def step(name):
    """Checks within; an exception is a failure of the whole and the next step goes on."""
    try:
        yield
    except Exception as error:  # whatever the client raises
        traceback.print_exc()
        report(name, False, str(error))


def finish():
    """Ends the program."""
    sys.exit(1 if _failed else 0)
