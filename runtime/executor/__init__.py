"""The executor: a ROS 2 lifecycle node that runs engines on what the robot's sensors publish.

Only ``node.py``, ``inputs.py``, ``outputs.py`` and ``spinner.py`` import rclpy or message packages.
"""
