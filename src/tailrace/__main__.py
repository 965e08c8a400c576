"""`python -m tailrace`, the same as the command `tailrace`."""

import sys

from tailrace.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
