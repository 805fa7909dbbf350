"""The agent on a box: reads what the box served, tells the gateway, loses nothing in silence. Standard library only."""

__version__ = "0.1.0"
