"""The HTTP and WebSocket APIs of an assistant."""

from .props import Throttle, VoiceApiProps
from .voice_api import STAGE_NAME, VoiceApi

__all__ = ["STAGE_NAME", "Throttle", "VoiceApi", "VoiceApiProps"]
