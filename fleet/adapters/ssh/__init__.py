"""What OpenSSH's client does around a connection: its configuration, known hosts, keys and agents, proxies.

Nothing here runs commands on robots; `ssh_link` opens connections with these parts.
"""
