"""python -m vae_lib: the same as `vae`."""

import sys

from vae_lib.cli.parser import main

if __name__ == "__main__":
    sys.exit(main())
