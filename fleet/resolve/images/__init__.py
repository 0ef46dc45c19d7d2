"""How images are built, as data: recipes, build contexts, the sources that builders need.

Imports the values of `fleet.resolve.desired`; nothing of `documents`.
"""
