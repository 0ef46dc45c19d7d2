"""The road of a model: from its file to answers, on real backends."""
