"""Everything that runs on a robot or inside an L4T container.

Imports nothing of `fleet`, which in turn imports `runtime.contract` alone.
"""
