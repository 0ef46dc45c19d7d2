"""`fleet engine`: one model on the machine at hand, one file a verb; what its verbs share is in `shared`.

Only `fleet.cli.verbs` imports it, by name; it may import everything but `main`.
"""
