"""The HTTP and WebSocket APIs of an assistant, and the worker behind its voice."""

from .props import Throttle, VoiceApiProps
from .session_worker import SessionWorker, SessionWorkerProps
from .voice_api import STAGE_NAME, VoiceApi

__all__ = ["STAGE_NAME", "SessionWorker", "SessionWorkerProps", "Throttle", "VoiceApi", "VoiceApiProps"]
