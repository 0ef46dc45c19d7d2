"""``python3 -m runtime.executor``: started and watched by the health agent."""

import sys

from runtime.executor.main import main

sys.exit(main())
