"""`python -m unish` is the `unish` command."""

import sys

from unish.cli import main

sys.exit(main())
