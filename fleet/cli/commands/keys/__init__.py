"""`fleet keys`: one file a subcommand, and what they share.

Imported by `fleet.cli.verbs` alone, when the verb is run; imports the command line's rooms and what is below.
"""
