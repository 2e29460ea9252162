"""An issuer of JWTs, which RequestAuthentication verifies."""

import base64
import json
import subprocess
import time


class Issuer:
    """It signs with an RSA key of its own, in `folder`. `keys` is its key set."""

    def __init__(self, name, folder):
        folder.mkdir()
        self.name, self.key = name, folder / "key.pem"
        self.openssl("genrsa", "-out", self.key, "2048")
        modulus = (
            self.openssl("rsa", "-modulus", "-noout", "-in", self.key).decode().strip().partition("=")[2]
        )
        key = {"kty": "RSA", "kid": "1", "alg": "RS256", "e": "AQAB", "n": encoded(bytes.fromhex(modulus))}
        self.keys = json.dumps({"keys": [key]})

    def openssl(self, *arguments, stdin=b""):
        return subprocess.run(["openssl", *arguments], input=stdin, check=True, capture_output=True).stdout

    def token(self, **claims):
        header = {"alg": "RS256", "kid": "1", "typ": "JWT"}
        claims = {"iss": self.name, "exp": int(time.time()) + 600, **claims}
        signed = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
        signature = self.openssl("dgst", "-sha256", "-sign", self.key, stdin=signed.encode())
        return f"{signed}.{encoded(signature)}"


def encoded(octets):
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
