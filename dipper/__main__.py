"""`python -m dipper`."""

from dipper.cli import main

raise SystemExit(main())
