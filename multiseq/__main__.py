"""The entry point of `python -m multiseq`, which runs the command line."""

from multiseq.cli import main

if __name__ == "__main__":
    main()
