"""How a robot is reached: one robot, as operators speak to its updater.

Imports `plan` and what is below; `bootstrap`, `rollout` and the command line may import it.
"""
