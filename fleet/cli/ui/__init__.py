"""What people see and how the process ends: console, progress over many robots, signatures as shown.

Every verb may import it; it imports no verb.
"""
