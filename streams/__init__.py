"""Stream operators (pure) and the shells that run them."""
