"""The relay that people write themselves: FastAPI, uvicorn (uvloop, httptools), and httpx or aiohttp.

Arguments: the port, the upstream ("http://127.0.0.1:4001"), and which client.
"""

import json
import sys
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

PORT, URL, CLIENT = int(sys.argv[1]), f"{sys.argv[2]}/v1/chat/completions", sys.argv[3]


@asynccontextmanager
async def lifespan(app: FastAPI):
    if CLIENT == "httpx":
        import httpx

        limits = httpx.Limits(max_connections=None, max_keepalive_connections=512)
        async with httpx.AsyncClient(timeout=600, limits=limits) as app.state.client:
            yield
    else:
        import aiohttp

        timeout, connector = aiohttp.ClientTimeout(600), aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as app.state.client:
            yield


app = FastAPI(lifespan=lifespan)


async def with_httpx(client, content: bytes, headers: dict, stream: bool) -> Response:
    answer = await client.send(client.build_request("POST", URL, content=content, headers=headers), stream=True)
    if not stream or answer.status_code != 200:
        return Response(await answer.aread(), answer.status_code, media_type="application/json")

    async def body():
        try:
            async for piece in answer.aiter_raw():
                yield piece
        finally:
            await answer.aclose()

    return StreamingResponse(body(), media_type="text/event-stream")


async def with_aiohttp(client, content: bytes, headers: dict, stream: bool) -> Response:
    answer = await client.post(URL, data=content, headers=headers)
    if not stream or answer.status != 200:
        return Response(await answer.read(), answer.status, media_type="application/json")

    async def body():
        try:
            async for piece in answer.content.iter_any():
                yield piece
        finally:
            answer.close()

    return StreamingResponse(body(), media_type="text/event-stream")


@app.post("/v1/chat/completions")
async def chat(request: Request) -> Response:
    body = await request.json()
    content = json.dumps(body, ensure_ascii=False).encode()
    headers = {"content-type": "application/json", "authorization": request.headers.get("authorization", "")}
    send = with_httpx if CLIENT == "httpx" else with_aiohttp
    return await send(app.state.client, content, headers, bool(body.get("stream")))


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning", access_log=False, backlog=4096)
