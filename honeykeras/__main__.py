"""`python -m honeykeras` and the `honeykeras` command."""

from __future__ import annotations

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
    return run()


if __name__ == "__main__":
    sys.exit(main())
