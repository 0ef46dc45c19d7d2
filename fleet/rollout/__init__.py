"""Wave by wave onto robots, and back.

Only the command line imports it; it never imports its siblings `build` and `publish`.
"""
