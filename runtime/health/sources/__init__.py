"""Where measurements of the machine come from."""
