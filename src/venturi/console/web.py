"""The console's HTTP server: ``/`` the status page, ``/metrics`` for Prometheus, ``/healthz`` for a load balancer.

It reads and never writes. It shows counts, names of destinations and transfer syntaxes: no PHI.
"""

import threading

import uvicorn
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from venturi.config.schema import HostPort
from venturi.console.metrics import LedgerCollector
from venturi.console.page import render
from venturi.console.port import Glance
from venturi.ledger.port import Ledger
from venturi.spool.port import Spool

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def application(ledger: Ledger, spool: Spool) -> Starlette:
    """The ASGI application."""

    def glance() -> Glance:
        return Glance(ledger.totals(), spool.free_fraction())

    registry = CollectorRegistry(auto_describe=False)
    registry.register(LedgerCollector(glance))

    def page(_: Request) -> Response:
        return HTMLResponse(render(glance()), headers=HEADERS)

    def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    def health(_: Request) -> Response:
        glance()
        return PlainTextResponse("ok\n")

    return Starlette(routes=[Route("/", page), Route("/metrics", metrics), Route("/healthz", health)])


def serve(listen: HostPort, ledger: Ledger, spool: Spool, stop: threading.Event) -> None:
    """Serve until ``stop`` is set. Raises SystemExit where the address can't be had."""
    config = uvicorn.Config(
        application(ledger, spool), host=listen.host, port=listen.port, log_level="error", access_log=False
    )
    server = uvicorn.Server(config)

    def watch() -> None:
        stop.wait()
        server.should_exit = True

    threading.Thread(target=watch, name="console-stop", daemon=True).start()
    server.run()
