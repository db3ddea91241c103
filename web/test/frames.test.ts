import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { decodePcm } from "../src/audio/format.js";
import type { Audio } from "../src/protocol/messages.js";
import { Frames, KEPT_FRAMES } from "../src/session/frames.js";

let sent: Audio[];
let connected: boolean;
let frames: Frames;

beforeEach(() => {
  vi.useFakeTimers();
  sent = [];
  connected = true;
  frames = new Frames((frame) => connected && sent.push(frame) > 0);
});
afterEach(() => {
  frames.close();
  vi.useRealTimers();
});

/** Frames whose first sample tells them apart. */
function push(...samples: number[]): void {
  for (const sample of samples) frames.push(Int16Array.of(sample, 0));
}
const seqs = (): number[] => sent.map(({ seq }) => seq);
const samples = (): number[] => sent.map(({ data }) => decodePcm(data)[0] ?? NaN);

describe("frames on their way out", () => {
  it("are numbered from 1 and go out at once", () => {
    push(11, 12, 13);
    expect(seqs()).toEqual([1, 2, 3]);
    expect(samples()).toEqual([11, 12, 13]);
    expect(frames.lastSent).toBe(3);
  });

  it("wait for a connection, and go out in order when it comes", () => {
    connected = false;
    push(11, 12, 13);
    expect(frames.lastSent).toBe(0);
    connected = true;
    frames.resume(1);
    expect(samples()).toEqual([11, 12, 13]);
  });

  it("are sent again from where the service has them, even those that had been sent", () => {
    push(11, 12, 13, 14, 15);
    frames.acknowledge(2);
    sent = [];
    frames.resume(4);
    expect(seqs()).toEqual([4, 5]);
    push(16);
    vi.runAllTimers();
    expect(samples()).toEqual([14, 15, 16]);
  });

  it("catch up at a pace, with new ones in their order behind", () => {
    connected = false;
    push(...Array.from({ length: 40 }, (_, i) => i + 1));
    connected = true;
    frames.resume(1);
    expect(sent.length).toBeLessThan(10);
    vi.advanceTimersByTime(50);
    push(41);
    vi.runAllTimers();
    expect(seqs()).toEqual(Array.from({ length: 41 }, (_, i) => i + 1));
    expect(samples()).toEqual(seqs());
  });

  it("are sent again when the service misses some", () => {
    push(11, 12, 13, 14);
    sent = [];
    frames.resend(2, 3);
    vi.runAllTimers();
    expect(samples()).toEqual([12, 13]);
    sent = [];
    // Nothing that was never sent.
    frames.resend(4, 99);
    vi.runAllTimers();
    expect(seqs()).toEqual([4]);
  });

  it("are silence where they had to be given up, so that those behind get through", () => {
    connected = false;
    push(...Array.from({ length: KEPT_FRAMES + 2 }, (_, i) => i + 1));
    connected = true;
    frames.resume(1);
    vi.runAllTimers();
    expect(seqs().at(-1)).toBe(KEPT_FRAMES + 2);
    expect(samples().slice(0, 4)).toEqual([0, 0, 3, 4]);
  });

  it("begin a new session with what nobody acknowledged", () => {
    push(11, 12, 13);
    frames.acknowledge(1);
    sent = [];
    frames.restart();
    expect(frames.lastSent).toBe(0);
    frames.resume(1);
    push(14);
    vi.runAllTimers();
    expect(seqs()).toEqual([1, 2, 3]);
    expect(samples()).toEqual([12, 13, 14]);
  });

  it("stop when the connection stops taking them, and lose none", () => {
    connected = false;
    push(11, 12);
    connected = true;
    let left = 1;
    frames = new Frames((frame) => left-- > 0 && sent.push(frame) > 0);
    push(21, 22, 23);
    expect(samples()).toEqual([21]);
    left = 99;
    frames.resume(2);
    expect(samples()).toEqual([21, 22, 23]);
  });
});
