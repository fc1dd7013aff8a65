"""Serve this portal with uvicorn in a thread, and describe it to the contract."""

import http.client
import json
import socket
import threading

import usual
import uvicorn
from asgi import application
from django.http import HttpResponse
from usual import *  # noqa: F403

LISTENER = socket.create_server(("127.0.0.1", 0))  # Connections wait in its queue until uvicorn accepts them.
SERVER = uvicorn.Server(uvicorn.Config(application, log_level="warning"))
threading.Thread(target=SERVER.run, args=([LISTENER],), daemon=True).start()


class Client(usual.Client):
    """Send requests to uvicorn."""

    def generic(self, method, path, data=b"", content_type=None, **extra):
        headers = {name[5:].replace("_", "-"): text for name, text in extra.items() if name.startswith("HTTP_")}
        headers["Cookie"] = "; ".join(f"{name}={cookie.value}" for name, cookie in self.cookies.items())
        if content_type:
            headers["Content-Type"] = content_type
        connection = http.client.HTTPConnection(*LISTENER.getsockname())
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        response = HttpResponse(answer.read(), status=answer.status)
        for name, value in answer.getheaders():
            response[name] = value
            if name.lower() == "set-cookie":
                self.cookies.load(value)
        connection.close()
        response.json = lambda: json.loads(response.content)
        return response
