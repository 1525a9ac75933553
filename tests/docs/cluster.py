#!/usr/bin/env python3
"""What stands for a cluster in the documents' world: an API server with one Service, and the Pod that answers it.

    cluster.py FOLDER ADDRESS      serves until it is killed; FOLDER has server.pem and server.key, ADDRESS is the API's

It speaks as much of the Kubernetes API as a client sees that lists and watches: tests/kube has the faults.
"""

from __future__ import annotations

import json
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

SERVICE, POD = "172.16.0.33", "10.0.2.21"
META: dict[str, object] = {"namespace": "default", "resourceVersion": "1"}
OBJECTS: dict[str, list[dict[str, object]]] = {
    "/api/v1/services": [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {**META, "name": "web"},
            "spec": {
                "clusterIP": SERVICE,
                "clusterIPs": [SERVICE],
                "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
            },
        }
    ],
    "/apis/discovery.k8s.io/v1/endpointslices": [
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**META, "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": [{"addresses": [POD], "conditions": {"ready": True}}],
        }
    ],
    "/api/v1/nodes": [],
    "/apis/networking.k8s.io/v1/servicecidrs": [],
}


class Api(BaseHTTPRequestHandler):
    """The API server."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        """A list, or a watch that begins with all objects and then waits."""
        address = urlsplit(self.path)
        objects = OBJECTS.get(address.path)
        if objects is None:
            self.send_error(404)
        elif "watch" in parse_qs(address.query):
            self.watch(objects if "sendInitialEvents" in parse_qs(address.query) else None)
        else:
            body = json.dumps(
                {"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": objects}
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def watch(self, objects: list[dict[str, object]] | None) -> None:
        """Events, a line each; nothing ever changes here."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        events = [{"type": "ADDED", "object": each} for each in objects or []]
        if objects is not None:
            done = {"k8s.io/initial-events-end": "true"}
            events.append({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "1", "annotations": done}}})
        for event in events:
            line = json.dumps(event).encode() + b"\n"
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        self.wfile.flush()
        threading.Event().wait()


class Web(BaseHTTPRequestHandler):
    """The Pod: it says who asks."""

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        """The client's address, as the Pod sees it."""
        body = f"{self.client_address[0]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serves both, and says so when both are there."""
    folder, address = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/server.pem", f"{folder}/server.key")
    api = ThreadingHTTPServer((address, 6443), Api)
    api.socket = context.wrap_socket(api.socket, server_side=True)
    web = ThreadingHTTPServer((POD, 8080), Web)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    print("ready", flush=True)
    api.serve_forever()


if __name__ == "__main__":
    main()
