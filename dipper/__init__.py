"""The command line, settings, and the assembly of the parts into processes."""
