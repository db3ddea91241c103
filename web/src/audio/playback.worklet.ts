import { loudness } from "./format.js";
import { PlaybackQueue, type Progress } from "./queue.js";

/** From the page. */
export type PlaybackOrder =
  | { kind: "push"; turnId: string; pcm: Int16Array<ArrayBuffer> }
  | { kind: "stop"; turnId?: string };

/** To the page, about ten times a second while something plays, and at once when it ends or is stopped. */
export interface PlaybackReport extends Progress {
  level: number;
  stopped: boolean;
}

const REPORT_SECONDS = 0.1;

class Playback extends AudioWorkletProcessor {
  private readonly queue = new PlaybackQueue(sampleRate);
  private playing = false;
  private stopping = false;
  private reportedAt = 0;
  private level = 0;

  constructor() {
    super();
    this.port.onmessage = ({ data }: MessageEvent<PlaybackOrder>) => {
      if (data.kind === "push") return this.queue.push(data.turnId, data.pcm);
      this.queue.stop(data.turnId);
      this.stopping = true;
    };
  }

  process(_: Float32Array[][], [outputs]: Float32Array[][]): boolean {
    const output = outputs?.[0];
    if (!output) return true;
    const progress = this.queue.read(output);
    this.level = Math.max(this.level, loudness(output));
    if (!progress) return true;
    const ended = this.playing && progress.drained;
    if (ended || this.stopping || (!progress.drained && currentTime - this.reportedAt >= REPORT_SECONDS)) {
      this.port.postMessage({ ...progress, level: this.level, stopped: this.stopping } satisfies PlaybackReport);
      this.reportedAt = currentTime;
      this.level = 0;
    }
    this.playing = !progress.drained;
    this.stopping = false;
    return true;
  }
}

registerProcessor("playback", Playback);
