"""A small web shop: prices come from a secret algorithm, orders are kept in SQLite, and who orders shows a key."""

import hmac
import json
import os
import signal
import sqlite3
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from private import pricing

DATA = os.environ.get("SHOP_DATA", "/data")
KEY = os.environ["SHOP_API_KEY"]


def orders():
    database = sqlite3.connect(os.path.join(DATA, "orders.db"))
    database.execute("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, item TEXT, price INTEGER)")
    return database


class Shop(BaseHTTPRequestHandler):
    def answer(self, value, status=200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        with orders() as database:
            self.answer(database.execute("SELECT item, price FROM orders ORDER BY id").fetchall())

    def do_POST(self):
        item = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if not hmac.compare_digest(self.headers.get("X-Api-Key", ""), KEY):
            return self.answer({"error": "wrong key"}, 403)
        price = pricing.price(item)
        with orders() as database:
            database.execute("INSERT INTO orders (item, price) VALUES (?, ?)", (item, price))
        self.answer({"item": item, "price": price})

    def log_message(self, *arguments):
        pass


if __name__ == "__main__":
    # The first process of a container gets no default action for SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    address = ("0.0.0.0", int(os.environ.get("SHOP_PORT", "8080")))
    print(f"shop on port {address[1]}", flush=True)
    HTTPServer(address, Shop).serve_forever()
