"""`python -m agent_exporter` is `dipper-agent`."""

import sys

from agent_exporter.cli import main

if __name__ == "__main__":
    sys.exit(main())
