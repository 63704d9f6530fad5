"""``python -m venturi`` is the ``venturi`` command."""

import sys

from venturi.cli import main

sys.exit(main())
