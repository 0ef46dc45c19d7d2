"""What a person declares: loading with line numbers, inheritance, reference.

Imports its rooms, `ports` and `errors`; `resolve` and what is above may import it.
"""
