"""A Django project in one file, for the tests against real servers: django_app.py uvicorn|wsgiref PORT

Each answer names the handler that ran, and what it read: the method, the API key and the session's cookie.
"""

import sys
from urllib.parse import quote

import django
from django.conf import settings
from django.http import HttpResponse
from django.urls import path, re_path

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="for tests")
django.setup()


def handler(name, status=200):
    def view(request, **_):
        body = f"handler={name}"
        read = {
            "x-handler": name,
            "x-method": request.method,
            "x-read-key": request.headers.get("x-api-key"),
            "x-read-sid": request.COOKIES.get("sid"),
            "content-length": len(body),
        }
        given = {header: quote(str(value)) for header, value in read.items() if value is not None}
        return HttpResponse(body, status=status, headers=given)

    return view


urlpatterns = [
    path("api/login", handler("login")),
    path("users/<id>", handler("user")),
    re_path("^static(?:/|$)", handler("static")),
    path("mount/<path:rest>", handler("mount")),
    re_path("", handler("none", 404)),
]

server, port = sys.argv[1], int(sys.argv[2])
if server == "uvicorn":
    import uvicorn
    from django.core.asgi import get_asgi_application

    uvicorn.run(get_asgi_application(), host="127.0.0.1", port=port, access_log=False)
else:
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

    from django.core.wsgi import get_wsgi_application

    # A thread for each connection, so that one on which no request comes delays no other.
    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True

    WSGIRequestHandler.log_message = lambda *_: None
    make_server("127.0.0.1", port, get_wsgi_application(), Server).serve_forever()
