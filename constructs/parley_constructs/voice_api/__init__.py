"""The HTTP and WebSocket APIs of an assistant."""

from .props import Throttle, VoiceApiProps
from .voice_api import VoiceApi

__all__ = ["Throttle", "VoiceApi", "VoiceApiProps"]
