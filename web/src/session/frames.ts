import { FRAME_MS, FRAME_SAMPLES, encodePcm } from "../audio/format.js";
import type { Audio } from "../protocol/messages.js";

/** What is kept of a voice that the service has not acknowledged. */
export const KEPT_FRAMES = Math.ceil(60_000 / FRAME_MS);

/** What was kept is sent again faster than it was spoken, but not so fast that the service's throttles drop it. */
const FRAMES_AT_ONCE = 5;
export const PACE_MS = 50;

/**
 * The user's voice on its way out: frames get their numbers here, go out in order, and are kept until the service says
 * that it has them. A frame that had to be given up is sent as silence, so that those after it are not held up.
 */
export class Frames {
  private readonly kept = new Map<number, Int16Array>();
  private forgotten = 0;
  private newest = 0;
  /** The next to send. */
  private next = 1;
  private again: number[] = [];
  private timer: ReturnType<typeof setTimeout> | undefined;

  /** `send` is false while there is no connection. */
  constructor(private readonly send: (frame: Audio) => boolean) {}

  /** The highest number sent so far. */
  get lastSent(): number {
    return this.next - 1;
  }

  push(pcm: Int16Array): void {
    this.newest += 1;
    this.kept.set(this.newest, pcm);
    const oldest = this.newest - KEPT_FRAMES;
    if (oldest > 0) this.kept.delete(oldest);
    if (this.next === this.newest && !this.again.length) this.pump();
  }

  /** The service has everything up to `seq`. */
  acknowledge(seq: number): void {
    for (let known = this.forgotten + 1; known <= Math.min(seq, this.newest); known++) this.kept.delete(known);
    this.forgotten = Math.max(this.forgotten, seq);
  }

  /** A connection has begun, and the service wants what comes from `seq` on. */
  resume(seq: number): void {
    this.acknowledge(seq - 1);
    this.again = [];
    this.next = Math.max(1, Math.min(seq, this.newest + 1));
    this.pump();
  }

  /** The service misses these, first and last included. */
  resend(first: number, last: number): void {
    const wanted = new Set(this.again);
    for (let seq = Math.max(1, first); seq <= Math.min(last, this.next - 1); seq++) wanted.add(seq);
    this.again = [...wanted].sort((a, b) => a - b);
    this.pump();
  }

  /** The session is another: what nobody acknowledged begins it, numbered from 1. */
  restart(): void {
    const frames = [...this.kept.entries()].sort(([a], [b]) => a - b).map(([, pcm]) => pcm);
    this.kept.clear();
    frames.forEach((pcm, index) => this.kept.set(index + 1, pcm));
    this.newest = frames.length;
    this.forgotten = 0;
    this.again = [];
    this.next = 1;
  }

  close(): void {
    clearTimeout(this.timer);
    this.kept.clear();
    this.again = [];
    this.next = this.newest + 1;
  }

  private pump(): void {
    clearTimeout(this.timer);
    for (let count = 0; count < FRAMES_AT_ONCE; count++) {
      const repeated = this.again[0];
      const seq = repeated ?? this.next;
      if (repeated === undefined && seq > this.newest) return;
      const pcm = this.kept.get(seq) ?? new Int16Array(FRAME_SAMPLES);
      // The next connection asks for what this one did not take.
      if (!this.send({ action: "audio", seq, data: encodePcm(pcm) })) return;
      if (repeated === undefined) this.next += 1;
      else this.again.shift();
    }
    this.timer = setTimeout(() => this.pump(), PACE_MS);
  }
}
