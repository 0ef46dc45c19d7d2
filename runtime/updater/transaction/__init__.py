"""The update transaction: pure steps, judgements and repairs over the World interface.

Touches no file, no process and no Docker itself: it imports `state` alone, and every room above may import it.
"""
