"""Pure statistics over arrays: no input or output, no clock, no random state of its own."""
