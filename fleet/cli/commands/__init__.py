"""One file a verb of `fleet`; verbs with verbs of their own have a folder.

Only `verbs` loads them, by name; they may import everything but `main`.
"""
