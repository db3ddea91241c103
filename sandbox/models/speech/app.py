"""The speech endpoints' routes, and `/_speech`, which says who listens and changes how they behave."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.models.faults import Faults
from sandbox.models.speech.duplex import Dialect, Duplex
from sandbox.models.speech.jobs import Buckets, TranscriptionJobs
from sandbox.models.speech.polly import describe_voices, start_speech_synthesis_stream, synthesize_speech
from sandbox.models.speech.recogniser import Recogniser
from sandbox.models.speech.settings import Settings
from sandbox.models.speech.sonic import Behind, TextModel, nova_sonic
from sandbox.models.speech.transcribe import start_stream_transcription


class Speech:
    """The endpoints with what stands behind them."""

    def __init__(
        self, model: TextModel, faults: Faults, count_tokens: Callable[[str], int], buckets: Buckets | None = None
    ) -> None:
        """`buckets` is where recordings lie that jobs transcribe; without it no job can be started."""
        self._recogniser = Recogniser()
        self._settings = Settings()
        self._listen: dict[str, list[str]] = {"texts": [], "questions": [], "grammar": []}
        self._words = 0
        self._behind = Behind(self._settings, faults, self._recogniser, model, count_tokens)
        self._jobs = TranscriptionJobs(self._behind, buckets)

    def routes(self) -> list[Route]:
        """To be served over TLS and HTTP/2; Polly's REST operations and `/_speech` by plain HTTP as well."""
        sonic = Duplex(nova_sonic(self._behind), Dialect("InternalServerException", lower_camel=True))
        transcribe = Duplex(
            start_stream_transcription(self._behind), Dialect("InternalFailureException", message="Message")
        )
        polly = Duplex(start_speech_synthesis_stream(self._behind.faults), Dialect("ServiceFailureException"))
        return [
            Route("/model/{model:path}/invoke-with-bidirectional-stream", sonic, methods=["POST"]),
            Route("/stream-transcription", transcribe, methods=["POST"]),
            Route("/v1/synthesisStream", polly, methods=["POST"]),
            Route("/v1/speech", synthesize_speech(self._behind.faults), methods=["POST"]),
            Route("/v1/voices", describe_voices),
            # AWS's JSON protocol has one path for every operation; Transcribe's batch operations alone use it here.
            Route("/", self._jobs.serve, methods=["POST"]),
            Route("/_speech", self._control, methods=["GET", "POST", "DELETE"]),
            Route("/_speech/arrivals", self._arrivals, methods=["GET", "DELETE"]),
        ]

    def close(self) -> None:
        """Stop the jobs and the recogniser."""
        self._jobs.close()
        self._recogniser.close()

    async def _control(self, request: Request) -> Response:
        if request.method == "DELETE":
            self._settings.reset()
        elif request.method == "POST":
            try:
                await self._change(await request.json())
            except ValueError as error:
                return JSONResponse({"message": str(error)}, 400)
        listens = {"recogniser": await self._recogniser.name(), "words": self._words}
        return JSONResponse({**listens, "voice": "espeak-ng", "settings": self._settings.document()})

    async def _arrivals(self, request: Request) -> Response:
        arrivals = self._behind.arrivals
        if request.method == "DELETE":
            arrivals.clear()
        return JSONResponse({str(call): found for call, found in arrivals.by_call.items()})

    async def _change(self, document: Any) -> None:
        if not isinstance(document, dict):
            raise ValueError("settings are a JSON object")
        listen = document.pop("listen", None)
        self._settings.change(document)
        if listen is not None:
            if not isinstance(listen, dict) or not listen.keys() <= self._listen.keys():
                raise ValueError(f"listen holds {', '.join(self._listen)}")
            for name, texts in listen.items():
                if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                    raise ValueError(f"{name} holds texts")
            self._listen |= listen
        if listen is not None or "vocabularies" in document:
            texts, questions, grammar = self._listen["texts"], self._listen["questions"], self._listen["grammar"]
            phrases = [phrase for phrases in self._settings.vocabularies.values() for phrase in phrases]
            self._words = await self._recogniser.learn(texts, [*questions, *phrases], grammar)
