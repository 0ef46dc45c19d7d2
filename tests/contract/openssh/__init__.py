"""Where `ssh` works, fleet works too: the same configuration, keys and known hosts, on a real OpenSSH server."""
