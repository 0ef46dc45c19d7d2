"""The `fleet` command: one file a verb, one error boundary, one place that wires adapters."""
