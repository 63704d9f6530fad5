"""The status page: one small HTML document, no scripts, everything escaped."""

from html import escape

from venturi.console.port import Glance, done
from venturi.dataset.syntaxes import lookup

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 2rem; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8884; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.bad { color: #c33; font-weight: 600; } .muted { opacity: .65; }
.bar { background: #8883; height: .6rem; border-radius: .3rem; overflow: hidden; }
.bar i { display: block; height: 100%; background: #2a8; }
"""


def table(heads: list[str], rows: list[list[str]], empty: str) -> str:
    """An HTML table; the last column holds figures."""
    if not rows:
        return f"<p class=muted>{escape(empty)}</p>"
    head = "".join(
        f"<th{' class=n' if n == len(heads) - 1 else ''}>{escape(h)}</th>" for n, h in enumerate(heads)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{' class=n' if n == len(row) - 1 else ''}>{escape(c)}</td>" for n, c in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def render(glance: Glance) -> str:
    """The whole page."""
    totals = glance.totals
    saved = 1 - totals.bytes_after / totals.bytes_before if totals.bytes_before else 0.0
    change = f"{saved:.0%} saved" if saved >= 0 else f"{-saved:.0%} more"  # what is decompressed grows
    held = (
        f"<p class=bad>{glance.held} held: see <code>venturi queue ls --state held</code></p>"
        if glance.held
        else ""
    )
    deliveries = [[d, s, f"{n:,}"] for (d, s), n in sorted(totals.deliveries.items())]
    renditions = [
        [str(lookup(uid)), done(reason, proof), f"{n:,}"]
        for (uid, reason, proof), n in sorted(totals.renditions.items(), key=lambda item: -item[1])
    ]
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=5>"
        "<meta name=viewport content='width=device-width'><title>Venturi</title>"
        f"<style>{_STYLE}</style><h1>Venturi</h1>{held}"
        f"<p>{sum(totals.instances.values()):,} instances, {totals.bytes_received / 1e6:,.1f} MB received; "
        f"{glance.waiting:,} deliveries waiting; {glance.free_fraction:.0%} of the spool free.</p>"
        f"<p>Pixel data {totals.bytes_before / 1e6:,.1f} MB became {totals.bytes_after / 1e6:,.1f} MB: "
        f"{change}.</p><div class=bar><i style='width:{max(saved, 0.0):.0%}'></i></div>"
        f"<h2>Deliveries</h2>{table(['destination', 'state', 'count'], deliveries, 'Nothing has been received yet.')}"
        f"<h2>Renditions</h2>{table(['transfer syntax', 'what was done', 'count'], renditions, 'None yet.')}"
    )
