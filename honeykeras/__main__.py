"""`python -m honeykeras` and the `honeykeras` command."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Runs the command line; returns the exit status."""
    try:
        from honeykeras.cli.main import run
    except ImportError as error:
        if error.name not in ("click", "rich"):
            raise
        print(
            "honeykeras: error: The command line must have its packages. Run `pip install 'honeykeras[cli]'`.",
            file=sys.stderr,
        )
        return 2
    # Stopped from outside, it cleans up as it does when it is interrupted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    return run()


if __name__ == "__main__":
    sys.exit(main())
