"""What crosses a wire or a package boundary in Dipper: names, dtypes, units, rules. Standard library only."""
