"""How a registry's client proves who it is, and to whom: the same rules for operators and for robots.

`origin` says whose server a URL means and where a registry may send its client; `challenge` reads WWW-Authenticate;
`docker_logins` finds credentials as Docker keeps them; `authorizer` puts them together; `no_proxy` says which hosts are
asked without a proxy. None of them sends anything: the caller does.

Imports the codec at most; everybody may import it.
"""
