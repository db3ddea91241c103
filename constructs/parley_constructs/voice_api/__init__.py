"""The HTTP and WebSocket APIs of an assistant, and the worker behind its voice."""

from .props import Throttle, VoiceApiProps
from .session_worker import SPEECH_ENGINES, SessionWorker, SessionWorkerProps, SpeechEngine
from .voice_api import STAGE_NAME, VoiceApi

__all__ = [
    "SPEECH_ENGINES",
    "STAGE_NAME",
    "SessionWorker",
    "SessionWorkerProps",
    "SpeechEngine",
    "Throttle",
    "VoiceApi",
    "VoiceApiProps",
]
