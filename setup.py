"""Here only to refuse a wrong Python at once: pip itself finds out after minutes of downloads."""

import sys

from setuptools import setup

if not (3, 11) <= sys.version_info[:2] <= (3, 12):
    sys.exit(
        "The lab needs Python 3.11 or 3.12 (numpy<2.0 has no wheels for 3.13), and this is "
        f"{sys.version.split()[0]}: install one of them and make the environment with it."
    )
setup()
