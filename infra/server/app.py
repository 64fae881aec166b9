"""The Prefect server's web application, which answers only requests that name this machine as their host."""

from prefect.server.api.server import create_app as create_prefect_app
from starlette.middleware.trustedhost import TrustedHostMiddleware

HOSTS = ("127.0.0.1", "localhost")


def create_app() -> TrustedHostMiddleware:
    """The application for uvicorn's ``--factory``; requests and websockets of other hosts get status 400.

    A web page whose name was made to resolve to 127.0.0.1 (DNS rebinding) has the same origin as this server in the
    eyes of the browser, which no rule about origins stops. Its requests still carry that name.
    """
    return TrustedHostMiddleware(create_prefect_app(), allowed_hosts=HOSTS, www_redirect=False)
