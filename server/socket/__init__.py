"""The WebSocket door: many requests at once on one connection, in JSON-RPC 2.0 or in a plain form.

    bytes -> Wire (frames, messages) -> Socket (who asks, how many, how long) -> Rpc or Plain -> Asked -> an endpoint

A request on a socket is a request at an HTTP endpoint: the same handlers serve it, with a `SocketReply` in the place
of the reply and the request's own presence in the place of the connection's. So leaving, deadlines, fallback, keys
and accounts are the same code; only the words are others, and those are a `Voice`'s. docs/websocket.md is the
contract.
"""
