"""Where `ssh` works, fleet works too: the same configuration, keys and known hosts for both, on a real OpenSSH server."""
