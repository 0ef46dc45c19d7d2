"""What runs in a runtime container, for tests: configurations, engines, models, messages."""
