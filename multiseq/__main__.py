"""`python -m multiseq`."""

from multiseq.cli import main

if __name__ == "__main__":
    main()
