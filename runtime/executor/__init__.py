"""The executor: a ROS 2 lifecycle node that runs engines on what the robot's sensors publish.

Only `main`, `node`, `spinner`, `inputs.subscriptions`, `outputs`, `checks` and `robot.inhibit` import rclpy or message
packages. Nothing else of `runtime` imports the executor.
"""
