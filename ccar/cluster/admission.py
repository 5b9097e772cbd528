"""Whether a cluster lets this machine in. Ray would try for 20 s, and then call it a lost connection."""

from __future__ import annotations

import os

import grpc

from ccar.cluster.token import TOKEN_HINT, find_token
from ccar.errors import UserError

_ANY_CALL = "/ray.rpc.NodeInfoGcsService/GetClusterId"  # every client's first; takes an empty message
_SECONDS_TO_ANSWER = 5.0


def check_admission(address: str) -> None:
    """Ask the head of a cluster anything, with the token that Ray would send.

    Args:
        address: HOST:PORT of the head. What else may be wrong there is for Ray to find.

    Raises:
        UserError: it asks for a token, and this machine has none or another one.
    """
    token = None if os.environ.get("RAY_AUTH_MODE") == "disabled" else find_token()
    metadata = [] if token is None else [("authorization", f"Bearer {token}")]
    try:
        # Without a proxy, as Ray: it would read the token.
        with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
            channel.unary_unary(_ANY_CALL)(b"", metadata=metadata, timeout=_SECONDS_TO_ANSWER)
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAUTHENTICATED:
            why = "asks for a token, and this machine has none" if token is None else "does not accept this token"
            raise UserError(f"the cluster at {address} {why}", hint=TOKEN_HINT) from None
