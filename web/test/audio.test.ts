import { describe, expect, it } from "vitest";
import { FRAME_SAMPLES, decodePcm, encodePcm, fromPcm16, loudness, toPcm16 } from "../src/audio/format.js";
import { Framer } from "../src/audio/framer.js";
import { PlaybackQueue } from "../src/audio/queue.js";
import { Resampler } from "../src/audio/resampler.js";

function tone(hertz: number, rate: number, seconds: number): Float32Array {
  return Float32Array.from({ length: Math.round(rate * seconds) }, (_, i) => 0.5 * Math.sin((2 * Math.PI * hertz * i) / rate));
}

/** As an audio thread gives it: 128 samples at a time. */
function inQuanta(samples: Float32Array, take: (part: Float32Array) => void): void {
  for (let at = 0; at < samples.length; at += 128) take(samples.subarray(at, at + 128));
}

function resampled(samples: Float32Array, from: number, to: number): Float32Array {
  const resampler = new Resampler(from, to);
  const output: number[] = [];
  inQuanta(samples, (part) => output.push(...resampler.process(part)));
  return Float32Array.from(output);
}

/** The amplitude of one frequency, away from the edges. */
function amplitude(samples: Float32Array, hertz: number, rate: number): number {
  const middle = samples.subarray(samples.length / 4, (3 * samples.length) / 4);
  let [real, imaginary] = [0, 0];
  middle.forEach((sample, i) => {
    real += sample * Math.cos((2 * Math.PI * hertz * i) / rate);
    imaginary += sample * Math.sin((2 * Math.PI * hertz * i) / rate);
  });
  return (2 * Math.hypot(real, imaginary)) / middle.length;
}

describe("PCM", () => {
  it("clips what is too loud, and comes back from base64 as it was", () => {
    const pcm = toPcm16(Float32Array.from([0, 1, -1, 2, -2, 0.5]));
    expect([...pcm]).toEqual([0, 32767, -32768, 32767, -32768, 16384]);
    expect([...decodePcm(encodePcm(pcm))]).toEqual([...pcm]);
    expect(fromPcm16(pcm)[5]).toBeCloseTo(0.5, 4);
  });

  it("encodes little-endian, and any length", () => {
    expect(encodePcm(Int16Array.of(0x0102))).toBe(btoa("\x02\x01"));
    const long = Int16Array.from({ length: 50_000 }, (_, i) => i % 30_000);
    expect([...decodePcm(encodePcm(long))]).toEqual([...long]);
  });

  it("refuses what is not base64 and leaves out half a sample", () => {
    expect(() => decodePcm("!!")).toThrow();
    expect(decodePcm(btoa("abc"))).toHaveLength(1);
  });
});

describe.each([
  [48_000, 16_000],
  [44_100, 16_000],
  [16_000, 16_000],
  [8_000, 16_000],
  [96_000, 16_000],
  [24_000, 48_000],
  [24_000, 44_100],
])("the resampler from %i to %i", (from, to) => {
  it("keeps a voice as it is, and its length", () => {
    const output = resampled(tone(1_000, from, 1), from, to);
    expect(Math.abs(output.length - to)).toBeLessThan(to * 0.01);
    expect(amplitude(output, 1_000, to)).toBeCloseTo(0.5, 2);
    // Nothing but the tone: what remains without it is 60 dB below.
    const rest = Math.sqrt(Math.max(0, loudness(output.subarray(to / 4, (3 * to) / 4)) ** 2 - amplitude(output, 1_000, to) ** 2 / 2));
    expect(rest).toBeLessThan(0.01);
  });

  it("keeps constant loudness constant", () => {
    const output = resampled(new Float32Array(from).fill(0.25), from, to);
    for (const sample of output.subarray(200, -200)) expect(sample).toBeCloseTo(0.25, 3);
  });
});

describe("the resampler's low-pass", () => {
  it("lets nothing fold back from above the half of the lower rate", () => {
    for (const hertz of [9_000, 12_000, 15_000, 20_000]) {
      const output = resampled(tone(hertz, 48_000, 1), 48_000, 16_000);
      // 60 dB below what went in.
      expect(loudness(output.subarray(400, -400))).toBeLessThan(0.0005);
    }
  });
});

describe("the framer", () => {
  it("cuts a stream into frames of 90 ms, whatever comes in", () => {
    const frames: Int16Array[] = [];
    const framer = new Framer(44_100, (frame) => frames.push(frame.slice()));
    inQuanta(tone(440, 44_100, 1), (part) => framer.push(part));
    expect(frames).toHaveLength(11);
    expect(frames.every((frame) => frame.length === FRAME_SAMPLES)).toBe(true);
    const joined = Float32Array.from(frames.flatMap((frame) => [...fromPcm16(frame)]));
    expect(amplitude(joined, 440, 16_000)).toBeCloseTo(0.5, 2);
  });
});

describe("the playback queue", () => {
  const voice = (ms: number): Int16Array => toPcm16(new Float32Array((24_000 * ms) / 1_000).fill(0.5));
  const output = new Float32Array(128);
  const readMs = (queue: PlaybackQueue, ms: number, rate = 48_000) => {
    let progress = null;
    for (let i = 0; i < (ms * rate) / 1_000 / 128; i++) progress = queue.read(output);
    return progress;
  };

  it("has nothing to say before anything came", () => {
    const queue = new PlaybackQueue(48_000);
    expect(queue.read(output)).toBeNull();
    expect(loudness(output)).toBe(0);
  });

  it.each([48_000, 44_100, 24_000])("counts to the millisecond what was given out at %i", (rate) => {
    const queue = new PlaybackQueue(rate);
    queue.push("a", voice(400));
    queue.push("a", voice(400));
    const half = readMs(queue, 400, rate);
    expect(half).toMatchObject({ turnId: "a", drained: false });
    expect(half?.ms).toBeGreaterThan(395);
    expect(half?.ms).toBeLessThan(405);
    const end = readMs(queue, 1_000, rate);
    expect(end).toMatchObject({ turnId: "a", drained: true });
    // The resampler holds back a millisecond.
    expect(end?.ms).toBeGreaterThan(797);
    expect(end?.ms).toBeLessThanOrEqual(800);
  });

  it("goes on counting when more of a turn comes after a gap", () => {
    const queue = new PlaybackQueue(48_000);
    queue.push("a", voice(100));
    readMs(queue, 500);
    queue.push("a", voice(100));
    expect(readMs(queue, 500)?.ms).toBeGreaterThan(197);
  });

  it("falls silent within one call when it is stopped, without a click", () => {
    const queue = new PlaybackQueue(48_000);
    queue.push("a", voice(1_000));
    const before = readMs(queue, 200);
    queue.stop("a");
    const after = queue.read(output);
    expect(after).toEqual({ ...before, drained: true });
    expect(output[127]).toBe(0);
    for (let i = 1; i < output.length; i++) expect(Math.abs((output[i] ?? 0) - (output[i - 1] ?? 0))).toBeLessThan(0.01);
    queue.read(output);
    expect(loudness(output)).toBe(0);
  });

  it("stops one turn and plays the next from its beginning", () => {
    const queue = new PlaybackQueue(48_000);
    queue.push("a", voice(1_000));
    queue.push("b", voice(100));
    readMs(queue, 200);
    queue.stop("a");
    expect(readMs(queue, 50)).toMatchObject({ turnId: "b", drained: false });
    expect(readMs(queue, 500)?.ms).toBeLessThanOrEqual(100);
  });

  it("stops everything", () => {
    const queue = new PlaybackQueue(48_000);
    queue.push("a", voice(1_000));
    queue.push("b", voice(1_000));
    queue.stop();
    expect(queue.read(output)).toBeNull();
  });
});
