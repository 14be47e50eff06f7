"""A small OpenID Connect provider on loopback: discovery, keys, and tokens as one likes."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def number(n: int) -> str:
    return encoded(n.to_bytes((n.bit_length() + 7) // 8, "big"))


class IdentityProvider:
    """`with IdentityProvider() as provider`: `url` is the issuer, `token(claims)` signs."""

    def __init__(self) -> None:
        self.rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                pages = {
                    "/realm/.well-known/openid-configuration": {
                        "issuer": provider.url,
                        "jwks_uri": provider.url + "/keys",
                    },
                    "/realm/keys": {"keys": provider.keys()},
                }
                body = json.dumps(pages.get(self.path, {})).encode()
                self.send_response(200 if self.path in pages else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/realm"

    def __enter__(self) -> IdentityProvider:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *args: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def keys(self) -> list[dict[str, str]]:
        one, other = self.rsa.public_key().public_numbers(), self.ec.public_key().public_numbers()
        return [
            {"kty": "RSA", "kid": "r", "use": "sig", "n": number(one.n), "e": number(one.e)},
            {"kty": "EC", "kid": "e", "use": "sig", "crv": "P-256", "x": encoded(other.x.to_bytes(32, "big")),
             "y": encoded(other.y.to_bytes(32, "big"))},
        ]  # fmt: skip

    def token(self, claims: Any, algorithm: Any = "RS256") -> str:
        header = {"alg": algorithm, "kid": "e" if algorithm == "ES256" else "r"}
        signed = f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(claims).encode())}"
        if algorithm == "ES256":
            r, s = decode_dss_signature(self.ec.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        elif algorithm == "none":
            signature = b""
        else:
            signature = self.rsa.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{encoded(signature)}"
