"""Before a machine is a robot: what it is, what is missing on it, which profiles there are; one file a verb.

Only `fleet.cli.verbs` imports it, by name; it may import everything but `main`.
"""
