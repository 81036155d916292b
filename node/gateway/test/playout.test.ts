/** The page's pure parts that its sound depends on: the queue of the audio thread, and the credit window. */

import assert from "node:assert/strict";
import { test } from "node:test";

interface Playout {
  phase: string;
  buffered: number;
  consumed: number;
  underruns: number;
  mark: number;
  sinceMark: number;
  push(block: { left: Float32Array; right: Float32Array }): void;
  pushMark(mark: number): void;
  end(): void;
  flush(mark: number): void;
  hold(held: boolean): void;
  takeDone(): number;
  render(left: Float32Array, right: Float32Array): void;
}

interface CreditWindow {
  size: number;
  outstanding: number;
  held: number;
  received(): void;
  consumed(packets: number): void;
  dropped(): void;
  forgotten(): void;
  grant(): number;
}

const page = (name: string): string => new URL(`../public/${name}`, import.meta.url).href;
const { Playout } = (await import(page("playout.js"))) as { Playout: new (start: number) => Playout };
const { CreditWindow } = (await import(page("credit.js"))) as { CreditWindow: new (size: number) => CreditWindow };

const QUANTUM = 128;
const FRAME = 960;

/** A block whose left samples count up from `from` thousandths, and whose right ones are their negatives. */
function block(from: number, frames = FRAME): { left: Float32Array; right: Float32Array } {
  const left = Float32Array.from({ length: frames }, (_, i) => (from + i) / 1000);
  return { left, right: left.map((sample) => -sample) };
}

function render(playout: Playout, quanta = 1): number[] {
  const heard: number[] = [];
  for (let quantum = 0; quantum < quanta; quantum += 1) {
    const [left, right] = [new Float32Array(QUANTUM), new Float32Array(QUANTUM)];
    playout.render(left, right);
    assert.ok(left.every((sample, i) => sample + (right[i] ?? 0) === 0));
    heard.push(...left);
  }
  return heard;
}

/** Plays on past the fade that a beginning has. */
function started(blocks: number): Playout {
  const playout = new Playout(FRAME);
  for (let i = 0; i < blocks; i += 1) {
    playout.push(block(i * FRAME));
  }
  render(playout);
  return playout;
}

function near(heard: number[], wanted: number[]): void {
  assert.equal(heard.length, wanted.length);
  for (const [i, sample] of heard.entries()) {
    assert.ok(Math.abs(sample - (wanted[i] ?? Number.NaN)) < 1e-4, `sample ${i} is ${sample}, not ${wanted[i]}`);
  }
}

const counting = (from: number, length: number): number[] => Array.from({ length }, (_, i) => (from + i) / 1000);

test("it is silent until there is enough to begin with", () => {
  const playout = new Playout(2 * FRAME);
  playout.push(block(1));
  near(render(playout), new Array(QUANTUM).fill(0));
  assert.equal(playout.phase, "waiting");
  playout.push(block(1 + FRAME));
  const heard = render(playout);
  assert.equal(playout.phase, "playing");
  assert.ok((heard[QUANTUM - 1] ?? 0) > 0);
});

test("every sample comes once and in order, across blocks", () => {
  const playout = started(3);
  near(render(playout, 16), counting(QUANTUM, 16 * QUANTUM));
  assert.equal(playout.consumed, 17 * QUANTUM);
  assert.equal(playout.takeDone(), 2);
  assert.equal(playout.takeDone(), 0);
});

test("a beginning fades in from silence", () => {
  const playout = new Playout(QUANTUM);
  playout.push({ left: new Float32Array(FRAME).fill(1), right: new Float32Array(FRAME).fill(-1) });
  const heard = render(playout);
  assert.ok((heard[0] ?? 1) < 0.02);
  assert.equal(heard[QUANTUM - 1], 1);
  assert.ok(heard.every((sample, i) => i === 0 || sample > (heard[i - 1] ?? 0)));
});

test("running dry fades out, counts once, and waits for enough again", () => {
  const playout = started(1);
  render(playout, 6);
  const heard = render(playout);
  assert.equal(playout.underruns, 1);
  assert.equal(playout.phase, "waiting");
  assert.equal(heard[FRAME % QUANTUM], 0);
  assert.equal(heard[(FRAME % QUANTUM) - 1], 0);
  render(playout, 10);
  assert.equal(playout.underruns, 1);
  playout.push(block(5000, FRAME - 1));
  render(playout);
  assert.equal(playout.phase, "waiting");
  playout.push(block(5000));
  render(playout);
  assert.equal(playout.phase, "playing");
});

test("the end of a track is no underrun, and what is too short to begin with is played all the same", () => {
  const playout = new Playout(10 * FRAME);
  playout.push(block(0));
  playout.end();
  render(playout, 8);
  assert.equal(playout.phase, "ended");
  assert.equal(playout.consumed, FRAME);
  assert.equal(playout.underruns, 0);
  playout.push(block(0));
  render(playout);
  assert.equal(playout.phase, "waiting");
});

test("what comes before the end is reached goes on without a gap", () => {
  const playout = started(1);
  playout.end();
  playout.pushMark(7);
  playout.push(block(FRAME));
  near(render(playout, 13), counting(QUANTUM, 13 * QUANTUM));
  assert.equal(playout.mark, 7);
  assert.equal(playout.sinceMark, 14 * QUANTUM - FRAME);
  assert.equal(playout.underruns, 0);
});

test("held, it fades out, consumes nothing more and is no underrun; let go, the next sample follows", () => {
  const playout = started(3);
  playout.hold(true);
  const faded = render(playout);
  assert.equal(faded[QUANTUM - 1], 0);
  const { consumed } = playout;
  near(render(playout, 20), new Array(20 * QUANTUM).fill(0));
  assert.equal(playout.phase, "held");
  assert.equal(playout.consumed, consumed);
  assert.equal(playout.underruns, 0);
  playout.hold(false);
  render(playout);
  near(render(playout), counting(consumed + QUANTUM, QUANTUM));
});

test("a flush drops all of it, marks too, and counts anew", () => {
  const playout = started(3);
  render(playout, 8);
  playout.pushMark(3);
  playout.flush(4);
  assert.equal(playout.buffered, 0);
  assert.equal(playout.takeDone(), 0);
  assert.deepEqual([playout.mark, playout.sinceMark], [4, 0]);
  render(playout, 3);
  assert.equal(playout.phase, "waiting");
  assert.equal(playout.underruns, 0);
  playout.push(block(0));
  render(playout);
  assert.deepEqual([playout.mark, playout.sinceMark], [4, QUANTUM]);
});

test("credit and what is here never exceed the window, and come in fives", () => {
  const credit = new CreditWindow(15);
  assert.equal(credit.grant(), 15);
  assert.equal(credit.grant(), 0);
  for (let i = 0; i < 15; i += 1) {
    credit.received();
  }
  assert.deepEqual([credit.outstanding, credit.held, credit.grant()], [0, 15, 0]);
  credit.consumed(4);
  assert.equal(credit.grant(), 0);
  credit.consumed(1);
  assert.equal(credit.grant(), 5);
  assert.equal(credit.outstanding + credit.held, 15);
});

test("what was dropped makes room, and a forgotten credit is given again", () => {
  const credit = new CreditWindow(15);
  credit.grant();
  for (let i = 0; i < 10; i += 1) {
    credit.received();
  }
  credit.dropped();
  assert.equal(credit.grant(), 10);
  credit.forgotten();
  assert.equal(credit.grant(), 15);
});

test("a window that grows is filled, at most a hundred at once, and one that shrinks waits", () => {
  const credit = new CreditWindow(15);
  credit.grant();
  credit.size = 150;
  assert.deepEqual([credit.grant(), credit.grant()], [100, 35]);
  credit.size = 15;
  for (let i = 0; i < 140; i += 1) {
    credit.received();
    credit.consumed(1);
    assert.ok(credit.grant() === 0 || credit.outstanding <= 15);
  }
});
