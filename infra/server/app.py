"""The Prefect server's web application, restricted to requests whose Host header names this machine."""

from prefect.server.api.server import create_app as create_prefect_app
from starlette.middleware.trustedhost import TrustedHostMiddleware

HOSTS = ("127.0.0.1", "localhost")


def create_app() -> TrustedHostMiddleware:
    """The application for uvicorn's ``--factory``; requests and websockets with another Host get status 400.

    Protects against DNS rebinding: a web page whose name resolves to 127.0.0.1 has the same origin as this server for
    the browser, so CORS does not stop it. Its requests still carry the page's host name.
    """
    return TrustedHostMiddleware(create_prefect_app(), allowed_hosts=HOSTS, www_redirect=False)
