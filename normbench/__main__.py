"""`python -m normbench`: the command line, whose commands are in `commands`."""

import sys


def main() -> int:
    """Run the command line; returns the exit status, and says what is wrong in one line."""
    try:
        import model

        if not hasattr(model, "NORMALIZATIONS"):
            print(
                f"{model.__file__} hides this project's model.py: start the command normbench instead", file=sys.stderr
            )
            return 2
        from normbench import commands  # here, for it takes seconds, in which Ctrl-C is to be as quiet as later

        return commands.run()
    except KeyboardInterrupt as stop:
        print(f"\nStopped; {str(stop) or 'nothing was being trained'}.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
