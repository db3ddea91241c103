/** Zero crossings of the filter on each side: with this window about 80 dB of attenuation. */
const ZERO_CROSSINGS = 16;
const KAISER_BETA = 8;
/** Of the smaller rate's half: the rest is room for the filter's slope, so that almost nothing folds back. */
const PASSBAND = 0.92;

/**
 * Changes the sample rate of a stream: a windowed-sinc low-pass, precomputed for each phase between the two rates.
 * It delays by `ZERO_CROSSINGS` samples of the smaller rate, which is 1 ms at 16 kHz.
 */
export class Resampler {
  private readonly up: number;
  private readonly down: number;
  private readonly taps: number;
  private readonly phases: Float32Array[];
  /** Input that later outputs still need. */
  private history: Float32Array;
  /** Where the next output lies: whole input samples into `history`, and phases (`up` to a sample) beyond. */
  private position = 0;
  private phase = 0;

  constructor(from: number, to: number) {
    const common = gcd(from, to);
    this.up = to / common;
    this.down = from / common;
    const scale = Math.min(1, to / from);
    const half = Math.ceil(ZERO_CROSSINGS / scale);
    this.taps = 2 * half;
    this.phases = Array.from({ length: this.up }, (_, phase) => kernel(half, phase / this.up, scale * PASSBAND));
    this.history = new Float32Array(half - 1);
  }

  process(input: Float32Array): Float32Array<ArrayBuffer> {
    const samples = new Float32Array(this.history.length + input.length);
    samples.set(this.history);
    samples.set(input, this.history.length);
    const output = new Float32Array(Math.ceil(((samples.length - this.position) * this.up) / this.down) + 1);
    let count = 0;
    while (this.position + this.taps <= samples.length) {
      const kernel = this.phases[this.phase] as Float32Array;
      let sum = 0;
      for (let tap = 0; tap < this.taps; tap++) sum += (samples[this.position + tap] as number) * (kernel[tap] as number);
      output[count++] = sum;
      this.phase += this.down;
      this.position += Math.floor(this.phase / this.up);
      this.phase %= this.up;
    }
    const used = Math.min(this.position, samples.length);
    this.history = samples.slice(used);
    this.position -= used;
    return output.slice(0, count);
  }
}

/** The filter for an output that lies `offset` (0 to 1) after the sample at `half - 1`; its sum is 1. */
function kernel(half: number, offset: number, cutoff: number): Float32Array {
  const taps = new Float32Array(2 * half);
  let sum = 0;
  for (let i = 0; i < taps.length; i++) {
    const x = i - (half - 1) - offset;
    const angle = Math.PI * x * cutoff;
    const sinc = angle === 0 ? 1 : Math.sin(angle) / angle;
    const edge = x / half;
    const value = Math.abs(edge) >= 1 ? 0 : sinc * bessel(KAISER_BETA * Math.sqrt(1 - edge * edge));
    taps[i] = value;
    sum += value;
  }
  return taps.map((value) => value / sum);
}

/** The modified Bessel function of the first kind and order 0, by its series. */
function bessel(x: number): number {
  let term = 1;
  let sum = 1;
  for (let k = 1; term > sum * 1e-10; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}
