"""The web page: the built client, and the configuration that it reads at its start."""

import asyncio
import json
import mimetypes
from pathlib import Path
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

_NOT_BUILT = (
    "<!doctype html><title>Parley</title><p>The page is not built yet: <code>./scripts/up</code> builds it.</p>"
)


class Page:
    """Serves `root`; a path without a file there is the client's own route and gets `index.html`."""

    def __init__(self, root: Path, outputs: Path, models_url: str) -> None:
        self._root = root.resolve()
        self._outputs = outputs
        self._models = httpx.AsyncClient(base_url=models_url, timeout=2, trust_env=False)

    async def handle(self, request: Request) -> Response:
        """Answer one request for the page."""
        wanted = (self._root / request.path_params["path"].lstrip("/")).resolve()
        if not wanted.is_relative_to(self._root) or not wanted.is_file():
            wanted = self._root / "index.html"
        try:
            content = await asyncio.to_thread(wanted.read_bytes)
        except OSError:
            return HTMLResponse(_NOT_BUILT, 503)
        kind = mimetypes.guess_type(wanted.name)[0] or "application/octet-stream"
        return Response(content, media_type=kind, headers={"cache-control": "no-cache"})

    async def configuration(self, request: Request) -> Response:
        """`/config.json`: how to sign in, which model answers, which embeds, and which listens."""
        try:
            outputs: dict[str, Any] = json.loads(await asyncio.to_thread(self._outputs.read_text))
        except (OSError, ValueError):
            outputs = {}
        answering, hearing = await asyncio.gather(self._ask_models("/_model"), self._ask_models("/_speech"))
        return JSONResponse(
            {
                "auth": outputs.get("auth", "cognito"),
                "region": outputs.get("region", "us-east-1"),
                "user_pool_id": outputs.get("user_pool_id"),
                "client_id": outputs.get("client_id"),
                # Relative to the page: a browser cannot call MiniStack's own port, another origin.
                "cognito_endpoint": "/@aws/cognito",
                "environment": "local",
                "model": answering.get("model", "unavailable"),
                "embedder": answering.get("embedder", "unavailable"),
                "recogniser": hearing.get("recogniser", "unavailable"),
                **_voice(outputs.get("stack_outputs", {})),
            },
            headers={"cache-control": "no-store"},
        )

    async def _ask_models(self, path: str) -> dict[str, Any]:
        """What the AI endpoints say of themselves; nothing when they do not answer."""
        try:
            answer = (await self._models.get(path)).json()
        except (httpx.HTTPError, ValueError):
            return {}
        return answer if isinstance(answer, dict) else {}


def _voice(deployed: dict[str, str]) -> dict[str, Any]:
    """Whether one can talk to what is deployed, and in which languages."""
    languages = deployed.get("VoiceLanguages")
    return {"voice": languages is not None} | ({"languages": languages.split(",")} if languages else {})
