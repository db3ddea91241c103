import { OUTPUT_RATE, fromPcm16 } from "./format.js";
import { Resampler } from "./resampler.js";

/** How much of a turn's voice has left the queue. */
export interface Progress {
  turnId: string;
  ms: number;
  /** Nothing of the turn is queued: it is over, was stopped, or waits for more. */
  drained: boolean;
}

interface Piece {
  turnId: string;
  samples: Float32Array;
}

/**
 * The voice that is to be played, at the device's rate. It counts what it has given out, turn by turn, and stops between
 * two calls of `read`: one render quantum.
 */
export class PlaybackQueue {
  private readonly pieces: Piece[] = [];
  private offset = 0;
  private resampler: Resampler;
  private resampledTurn = "";
  private turnId = "";
  private given = 0;
  private last = 0;

  constructor(private readonly rate: number) {
    this.resampler = new Resampler(OUTPUT_RATE, rate);
  }

  /** Append 24 kHz PCM. Turns are played one after the other. */
  push(turnId: string, pcm: Int16Array): void {
    if (turnId !== this.resampledTurn) {
      this.resampler = new Resampler(OUTPUT_RATE, this.rate);
      this.resampledTurn = turnId;
    }
    const samples = this.resampler.process(fromPcm16(pcm));
    if (samples.length) this.pieces.push({ turnId, samples });
  }

  /** Drop what is left of a turn, or of every turn. */
  stop(turnId?: string): void {
    const kept = turnId === undefined ? [] : this.pieces.filter((piece) => piece.turnId !== turnId);
    if (this.pieces[0] !== kept[0]) this.offset = 0;
    this.pieces.splice(0, this.pieces.length, ...kept);
    if (turnId === undefined || turnId === this.resampledTurn) this.resampledTurn = "";
  }

  /** Fill `output` with what comes next, and silence after it; the progress is null while nothing was ever played. */
  read(output: Float32Array): Progress | null {
    let filled = 0;
    while (filled < output.length) {
      const piece = this.pieces[0];
      // The samples of one call are of one turn, so that its count is exact.
      if (!piece || (filled > 0 && piece.turnId !== this.turnId)) break;
      if (piece.turnId !== this.turnId) {
        this.turnId = piece.turnId;
        this.given = 0;
      }
      const part = piece.samples.subarray(this.offset, this.offset + output.length - filled);
      output.set(part, filled);
      filled += part.length;
      this.offset += part.length;
      if (this.offset === piece.samples.length) {
        this.pieces.shift();
        this.offset = 0;
      }
    }
    this.given += filled;
    this.silence(output, filled);
    if (!this.turnId) return null;
    return { turnId: this.turnId, ms: (1_000 * this.given) / this.rate, drained: this.pieces[0]?.turnId !== this.turnId };
  }

  /** From the last sample down to silence within this call, so that a stop does not click. */
  private silence(output: Float32Array, from: number): void {
    const edge = from > 0 ? (output[from - 1] as number) : this.last;
    const length = output.length - from;
    for (let i = 0; i < length; i++) output[from + i] = edge * (1 - (i + 1) / length);
    this.last = output[output.length - 1] ?? 0;
  }
}
