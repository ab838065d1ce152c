"""`python -m postroom`."""

import sys

from postroom.cli.main import main

sys.exit(main())
