"""What a person declares: schema, loading with line numbers, reference."""
