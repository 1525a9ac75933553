"""An ESP implementation from outside (scapy) that seals and opens on request.

Reads one JSON object a line and answers each with one:
  {"op": "seal", "suite": …, "spi": …, "sequence": …, "key": hex, "auth_key": hex, "inner": hex} -> {"esp": hex}
  {"op": "open", …, "esp": hex} -> {"inner": hex}
The sequence number is the whole one; with "esn" true its high half is authenticated and not sent.
Tunnel mode; the outer IP header that scapy insists on is made up and taken off again.
"""

import json
import sys

from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import ESP, SecurityAssociation

OUTER = dict(src="192.0.2.1", dst="192.0.2.2")
# What scapy calls the algorithms, with the octets of ICV.
SUITES = {
    "aes128gcm16": ("AES-GCM", 16, "NULL"),
    "aes192gcm16": ("AES-GCM", 16, "NULL"),
    "aes256gcm16": ("AES-GCM", 16, "NULL"),
    "chacha20poly1305": ("CHACHA20-POLY1305", 16, "NULL"),
    "aes128-sha256": ("AES-CBC", None, "SHA2-256-128"),
    "aes192-sha256": ("AES-CBC", None, "SHA2-256-128"),
    "aes256-sha384": ("AES-CBC", None, "SHA2-384-192"),
    "aes256-sha512": ("AES-CBC", None, "SHA2-512-256"),
}


def association(request):
    crypt, icv_len, auth = SUITES[request["suite"]]
    return SecurityAssociation(
        ESP,
        spi=request["spi"],
        seq_num=request["sequence"] & 0xFFFFFFFF,
        crypt_algo=crypt,
        crypt_key=bytes.fromhex(request["key"]),
        crypt_icv_size=icv_len,
        auth_algo=auth,
        auth_key=bytes.fromhex(request["auth_key"]) or None,
        tunnel_header=IP(**OUTER),
        esn_en=request["esn"],
        esn=request["sequence"] >> 32,
    )


def answer(request):
    sa = association(request)
    if request["op"] == "seal":
        octets = bytes.fromhex(request["inner"])
        inner = IPv6(octets) if octets[0] >> 4 == 6 else IP(octets)
        sealed = sa.encrypt(inner, esn_en=request["esn"], esn=request["sequence"] >> 32)
        return {"esp": bytes(sealed[ESP]).hex()}
    packet = IP(**OUTER, proto=50) / ESP(bytes.fromhex(request["esp"]))
    packet = IP(bytes(packet))
    opened = sa.decrypt(packet, esn_en=request["esn"], esn=request["sequence"] >> 32)
    return {"inner": bytes(opened).hex()}


for line in sys.stdin:
    try:
        print(json.dumps(answer(json.loads(line))), flush=True)
    except Exception as error:  # the test shows it
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
