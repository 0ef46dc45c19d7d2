"""Power and heat: which modes may be used, when to step down and up again, and who is informed.

Imports `runtime.contract` only; the health agent may import it.
"""
