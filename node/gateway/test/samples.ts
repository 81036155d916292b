/** Two recordings of the same thing, sample by sample. */

/** Samples at most that the page fades over where sound begins or runs dry. */
const QUANTUM = 128;
/** Zeros in a row that no sound has, and each silence that the page makes: the fade's last one, and what is missing of the quantum. */
const ZEROS = 2;

/** How a recording differs from another. */
export interface Comparison {
  /** Samples from the first sound to the last, without the silences between. */
  length: number;
  /** Silences between. */
  silences: number;
  /** Of those that were compared, all but the fades around silences. */
  different: number;
  compared: number;
}

/**
 * Compares `recorded` with `whole`, which has no silence in it. Where it ran dry, the fade's last sample is a zero like the silence
 * behind it; the sample after the silence is the one after that.
 */
export function compare(recorded: Float32Array, whole: Float32Array): Comparison {
  const [reference = new Float32Array()] = sounding(whole);
  const pieces = sounding(recorded);
  let [at, different, compared] = [0, 0, 0];
  for (const [number, piece] of pieces.entries()) {
    const from = number === 0 ? 0 : QUANTUM;
    const to = piece.length - (number === pieces.length - 1 ? 0 : QUANTUM);
    for (let i = from; i < to; i += 1) {
      different += Number(piece[i] !== reference[at + i]);
    }
    compared += Math.max(0, to - from);
    at += piece.length + Number(number < pieces.length - 1);
  }
  return { length: at, silences: pieces.length - 1, different, compared };
}

/** What lies between silences, none of it beginning or ending with one. */
export function sounding(samples: Float32Array): Float32Array[] {
  const pieces: Float32Array[] = [];
  let [from, last] = [-1, -1];
  for (const [at, sample] of samples.entries()) {
    if (sample === 0) {
      continue;
    }
    if (from < 0) {
      from = at;
    } else if (at - last > ZEROS) {
      pieces.push(samples.subarray(from, last + 1));
      from = at;
    }
    last = at;
  }
  return from < 0 ? [] : [...pieces, samples.subarray(from, last + 1)];
}

/** The longest silence between sounds, in samples. */
export function longestSilence(samples: Float32Array): number {
  const pieces = sounding(samples);
  return pieces.slice(1).reduce((longest, piece, i) => {
    const before = pieces[i] as Float32Array;
    const silence = (piece.byteOffset - before.byteOffset) / Float32Array.BYTES_PER_ELEMENT - before.length;
    return Math.max(longest, silence);
  }, 0);
}
