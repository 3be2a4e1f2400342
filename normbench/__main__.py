"""`python -m normbench` and the command `normbench`; what they do is in `commands`."""

import sys


def main() -> int:
    """Run the command line; return the exit status."""
    try:
        from normbench import commands  # here, so that Ctrl-C is quiet while libraries are imported, too

        return commands.main()
    except KeyboardInterrupt as stop:
        print(f"\nStopped; {str(stop) or 'nothing was being trained'}.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
