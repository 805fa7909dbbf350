"""How well and how fast the localiser names causes."""
