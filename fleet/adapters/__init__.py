"""The only importers of docker, requests and paramiko."""
