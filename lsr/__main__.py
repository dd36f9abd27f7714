"""`python -m lsr` is the `lsr` command."""

from lsr.cli import main

if __name__ == "__main__":
    main()
