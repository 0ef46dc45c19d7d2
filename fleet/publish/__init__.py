"""Images and releases, assembled in the registry by API.

Only the command line imports it; it never imports its siblings `build` and `rollout`.
"""
