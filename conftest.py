"""At the root, so that pytest reads it whatever it is asked to run: notebooks and tests use the quick profile."""

import os

os.environ.setdefault("VAE_PROFILE", "quick")  # every kernel that nbval starts inherits it
