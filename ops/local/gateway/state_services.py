"""moto as a WSGI application, for the services that only keep state."""

from wsgiref.types import WSGIApplication


def state_services() -> WSGIApplication:
    """moto's application for every service, with all state of an earlier cloud cleared."""
    # Importing moto takes about a second, so it waits until a cloud starts.
    from moto.moto_api._internal import moto_api_backend  # noqa: PLC0415
    from moto.server import DomainDispatcherApplication, create_backend_app  # noqa: PLC0415

    moto_api_backend.reset()
    application: WSGIApplication = DomainDispatcherApplication(create_backend_app)
    return application
