import { loudness } from "./format.js";
import { Framer } from "./framer.js";

/** To the page: a frame of the service's format, and how loud it was. */
export interface Captured {
  pcm: Int16Array<ArrayBuffer>;
  level: number;
}

/** Turns the microphone into frames on the audio thread. The page's message `muted` makes them silence. */
class Capture extends AudioWorkletProcessor {
  private muted = false;
  private peak = 0;
  private readonly framer = new Framer(sampleRate, (pcm) => {
    this.port.postMessage({ pcm, level: this.peak } satisfies Captured, [pcm.buffer]);
    this.peak = 0;
  });
  private readonly still = new Float32Array(128);

  constructor() {
    super();
    this.port.onmessage = ({ data }: MessageEvent<{ muted: boolean }>) => {
      this.muted = data.muted;
    };
  }

  process([input]: Float32Array[][]): boolean {
    // No channel: the track has ended or gives nothing yet. Time passes all the same, and the service must hear it.
    const samples = (!this.muted && input?.[0]) || this.still;
    this.peak = Math.max(this.peak, loudness(samples));
    this.framer.push(samples);
    return true;
  }
}

registerProcessor("capture", Capture);
