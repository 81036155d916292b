/** What is left of a tone that has been through everything: its level, and whether a sample of it is missing or there twice. */

const RATE = 48_000;
const BLOCK = 960;
/** An amplitude below which there is no tone to speak of, and its phase is chance. */
const SILENT = 0.05;
/** Turns that a codec's own inaccuracy may make. 20 ms that are missing of a tone of 440 Hz make 0.2. */
const STEADY = 0.02;

/** A pure tone as it was found. */
export interface FoundTone {
  /** dBFS of its peak, over all blocks. */
  dbfs: number;
  /** Where its phase is not what it was 20 ms before: none if every sample is there once and no silence lies between. */
  breaks: number;
  /** dB of all that is not the tone, below the tone. */
  purity: number;
}

/** Looks for a tone of `hz` in `samples` at 48 kHz. */
export function findTone(samples: Float32Array, hz: number): FoundTone {
  let before: number | undefined;
  let breaks = 0;
  let tone = 0;
  let rest = 0;
  const blocks = Math.floor(samples.length / BLOCK);
  for (let block = 0; block < blocks; block += 1) {
    let [real, imaginary, weights] = [0, 0, 0];
    for (let i = 0; i < BLOCK; i += 1) {
      const at = block * BLOCK + i;
      const weight = (0.5 - 0.5 * Math.cos((2 * Math.PI * (i + 0.5)) / BLOCK)) * (samples[at] ?? 0);
      real += weight * Math.cos(angle(hz, at));
      imaginary -= weight * Math.sin(angle(hz, at));
      weights += 0.5;
    }
    const amplitude = Math.hypot(real, imaginary) / (weights / 2);
    const turn = Math.atan2(imaginary, real);
    const phase = turn / (2 * Math.PI);
    if (amplitude < SILENT) {
      continue;
    }
    const step = Math.abs(phase - (before ?? phase));
    breaks += Number(Math.min(step, 1 - step) > STEADY);
    before = phase;
    for (let at = block * BLOCK; at < (block + 1) * BLOCK; at += 1) {
      const wanted = amplitude * Math.cos(angle(hz, at) + turn);
      tone += wanted ** 2;
      rest += ((samples[at] ?? 0) - wanted) ** 2;
    }
  }
  return {
    dbfs: 10 * Math.log10((2 * tone) / (blocks * BLOCK)),
    breaks,
    purity: 10 * Math.log10(tone / rest),
  };
}

/** dBFS of the peak of what there is of `hz` in all of `samples`. */
export function levelOf(samples: Float32Array, hz: number): number {
  let [real, imaginary] = [0, 0];
  for (const [at, sample] of samples.entries()) {
    const weight = (1 - Math.cos((2 * Math.PI * (at + 0.5)) / samples.length)) * sample;
    real += weight * Math.cos(angle(hz, at));
    imaginary -= weight * Math.sin(angle(hz, at));
  }
  return 20 * Math.log10((2 * Math.hypot(real, imaginary)) / samples.length);
}

/** How long it lasts, to be told. */
export function seconds(samples: Float32Array): string {
  return (samples.length / RATE).toFixed(1);
}

/** The tone's angle at that sample, kept small so that it stays exact. */
function angle(hz: number, at: number): number {
  return (2 * Math.PI * ((hz * at) % RATE)) / RATE;
}
