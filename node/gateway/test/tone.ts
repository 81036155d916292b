/** What is left of a tone that has been through everything: its level, and whether a sample of it is missing or there twice. */

const RATE = 48_000;
const BLOCK = 960;

/** A pure tone as it was found. */
export interface FoundTone {
  /** dBFS of its peak, over all blocks. */
  dbfs: number;
  /** The largest step of its phase between two blocks of 20 ms, in turns: 0 if every sample is there once. */
  phaseStep: number;
  /** dB of all that is not the tone, below the tone. */
  purity: number;
}

/** Looks for a tone of `hz` in `samples` at 48 kHz. */
export function findTone(samples: Float32Array, hz: number): FoundTone {
  let before: number | undefined;
  let phaseStep = 0;
  let tone = 0;
  let all = 0;
  const blocks = Math.floor(samples.length / BLOCK);
  for (let block = 0; block < blocks; block += 1) {
    let [real, imaginary, weights, power, weightedSquares] = [0, 0, 0, 0, 0];
    for (let i = 0; i < BLOCK; i += 1) {
      const at = block * BLOCK + i;
      const weight = 0.5 - 0.5 * Math.cos((2 * Math.PI * (i + 0.5)) / BLOCK);
      const sample = samples[at] ?? 0;
      const angle = (2 * Math.PI * ((hz * at) % RATE)) / RATE;
      real += weight * sample * Math.cos(angle);
      imaginary -= weight * sample * Math.sin(angle);
      weights += weight;
      weightedSquares += weight * weight;
      power += weight * weight * sample * sample;
    }
    const amplitude = (2 * Math.hypot(real, imaginary)) / weights;
    const phase = Math.atan2(imaginary, real) / (2 * Math.PI);
    if (before !== undefined) {
      const step = Math.abs(phase - before);
      phaseStep = Math.max(phaseStep, Math.min(step, 1 - step));
    }
    before = phase;
    tone += amplitude ** 2 / 2;
    all += power / weightedSquares;
  }
  const rest = Math.max(all - tone, 1e-12);
  return {
    dbfs: 10 * Math.log10((2 * tone) / blocks),
    phaseStep,
    purity: 10 * Math.log10(tone / rest),
  };
}
