import captureUrl from "./capture.worklet.ts?worker&url";
import type { Captured } from "./capture.worklet.js";
import type { PlaybackOrder, PlaybackReport } from "./playback.worklet.js";
import playbackUrl from "./playback.worklet.ts?worker&url";
import { ParleyError } from "../errors.js";
import type { AudioDevices, AudioListener } from "../session/call.js";

/** The audio context that worklets run in, at the device's own rate: a forced one breaks microphones in some browsers. */
async function audioContext(): Promise<AudioContext> {
  const context = new AudioContext({ latencyHint: "interactive" });
  await Promise.all([context.audioWorklet.addModule(captureUrl), context.audioWorklet.addModule(playbackUrl)]);
  // Made after a click, so it may run; a page restored by the browser may have to be asked.
  await context.resume();
  return context;
}

async function microphone(): Promise<MediaStream> {
  // Absent where the page is not served securely.
  if (!navigator.mediaDevices) throw new ParleyError("microphone_insecure", "No secure context.", false);
  try {
    return await navigator.mediaDevices.getUserMedia({
      // The assistant must not hear itself through the loudspeaker.
      audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 },
    });
  } catch (error) {
    const name = error instanceof DOMException ? error.name : "";
    const code = MICROPHONE_CODES[name] ?? "microphone_failed";
    throw new ParleyError(code, `The microphone: ${name}.`, false);
  }
}

const MICROPHONE_CODES: Record<string, string> = {
  NotAllowedError: "microphone_refused",
  SecurityError: "microphone_refused",
  NotFoundError: "microphone_missing",
  OverconstrainedError: "microphone_missing",
  NotReadableError: "microphone_busy",
  AbortError: "microphone_busy",
};

/** Opens the microphone and the loudspeaker. Throws `ParleyError`; must be called from a click or a key press. */
export async function openAudio(listener: AudioListener): Promise<AudioDevices> {
  const stream = await microphone();
  let context: AudioContext;
  try {
    context = await audioContext();
  } catch {
    stop(stream);
    throw new ParleyError("audio_failed", "The browser's audio did not start.", true);
  }
  const capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
  const playback = new AudioWorkletNode(context, "playback", { numberOfInputs: 0, outputChannelCount: [1] });
  const source = context.createMediaStreamSource(stream);
  source.connect(capture);
  playback.connect(context.destination);
  capture.port.onmessage = ({ data }: MessageEvent<Captured>) => listener.captured(data.pcm, data.level);
  playback.port.onmessage = ({ data }: MessageEvent<PlaybackReport>) => {
    if (data.stopped) performance.mark("parley.playback-stopped");
    listener.played(data);
  };
  const tell = (order: PlaybackOrder, transfer: Transferable[] = []): void => playback.port.postMessage(order, transfer);
  for (const track of stream.getAudioTracks()) track.addEventListener("ended", () => listener.microphoneLost());
  // A phone suspends audio for a call or a locked screen; it may go on when the page is looked at again.
  const wake = (): void => {
    if (document.visibilityState === "visible" && context.state !== "closed") void context.resume();
  };
  document.addEventListener("visibilitychange", wake);
  return {
    play: (turnId, pcm) => tell({ kind: "push", turnId, pcm }, [pcm.buffer]),
    stop: (turnId) => {
      performance.mark("parley.playback-stop-asked");
      tell(turnId === undefined ? { kind: "stop" } : { kind: "stop", turnId });
    },
    mute: (muted) => {
      capture.port.postMessage({ muted });
      for (const track of stream.getAudioTracks()) track.enabled = !muted;
    },
    close: () => {
      document.removeEventListener("visibilitychange", wake);
      stop(stream);
      capture.port.onmessage = null;
      playback.port.onmessage = null;
      void context.close();
    },
  };
}

function stop(stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop();
}
