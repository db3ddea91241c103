import { FRAME_SAMPLES, INPUT_RATE, toPcm16 } from "./format.js";
import { Resampler } from "./resampler.js";

/** Cuts a microphone's stream, at whatever rate, into frames of the service's format. */
export class Framer {
  private readonly resampler: Resampler;
  private readonly frame = new Float32Array(FRAME_SAMPLES);
  private filled = 0;

  constructor(
    rate: number,
    private readonly emit: (frame: Int16Array<ArrayBuffer>) => void,
  ) {
    this.resampler = new Resampler(rate, INPUT_RATE);
  }

  push(samples: Float32Array): void {
    let rest: Float32Array = this.resampler.process(samples);
    while (rest.length > 0) {
      const part = rest.subarray(0, FRAME_SAMPLES - this.filled);
      this.frame.set(part, this.filled);
      this.filled += part.length;
      rest = rest.subarray(part.length);
      if (this.filled === FRAME_SAMPLES) {
        this.emit(toPcm16(this.frame));
        this.filled = 0;
      }
    }
  }
}
