"""``python3 -m runtime.health``: the first process of the runtime container."""

import sys

from runtime.health.agent import main

sys.exit(main())
