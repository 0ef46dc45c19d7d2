"""An engine's layers as an SVG picture: what each costs, at which precision it runs, where values are only converted.

`commands` may import it; it imports the contract's documents alone. Names out of a model are data: they are escaped.
"""
