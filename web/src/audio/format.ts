/** What the service hears and speaks: see "Audio" in docs/asyncapi.json. */
export const INPUT_RATE = 16_000;
export const OUTPUT_RATE = 24_000;

/** 90 ms: long enough that a minute of speech is 667 messages, short enough that it adds little delay. */
export const FRAME_SAMPLES = 1_440;
export const FRAME_MS = (1_000 * FRAME_SAMPLES) / INPUT_RATE;

/** Floats from -1 to 1 as 16-bit integers; what is louder is clipped. */
export function toPcm16(samples: Float32Array): Int16Array<ArrayBuffer> {
  const pcm = new Int16Array(samples.length);
  for (let i = 0; i < samples.length; i++) {
    const value = Math.max(-1, Math.min(1, samples[i] ?? 0));
    pcm[i] = Math.round(value < 0 ? value * 0x8000 : value * 0x7fff);
  }
  return pcm;
}

export function fromPcm16(pcm: Int16Array): Float32Array<ArrayBuffer> {
  const samples = new Float32Array(pcm.length);
  for (let i = 0; i < pcm.length; i++) samples[i] = (pcm[i] ?? 0) / 0x8000;
  return samples;
}

/** Every browser's machine is little-endian, as the protocol is. */
export function encodePcm(pcm: Int16Array): string {
  const bytes = new Uint8Array(pcm.buffer, pcm.byteOffset, pcm.byteLength);
  // Well below the number of arguments that engines take; a frame has 2,880 bytes.
  const pieces: string[] = [];
  for (let at = 0; at < bytes.length; at += 8_192) pieces.push(String.fromCharCode(...bytes.subarray(at, at + 8_192)));
  return btoa(pieces.join(""));
}

/** Throws for what is not base64. Half a sample at the end is left out. */
export function decodePcm(data: string): Int16Array<ArrayBuffer> {
  const text = atob(data);
  const bytes = new Uint8Array(text.length - (text.length % 2));
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
  return new Int16Array(bytes.buffer);
}

/** Root mean square: 0 is silence, 1 as loud as can be. */
export function loudness(samples: Float32Array): number {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  return samples.length ? Math.sqrt(sum / samples.length) : 0;
}
