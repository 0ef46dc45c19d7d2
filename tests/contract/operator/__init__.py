"""The operator's side as real processes: hooks, pauses, signals, what tests share."""
