/** How deep the page's buffer is, and becomes when the sound runs dry. */

import assert from "node:assert/strict";
import { test } from "node:test";

interface AdaptiveWindow {
  readonly size: number;
  choose(packets: number): void;
  ranDry(): void;
  heard(packets: number): void;
}

const { AdaptiveWindow } = (await import(new URL("../public/window.js", import.meta.url).href)) as {
  AdaptiveWindow: new (chosen: number) => AdaptiveWindow;
};

/** Packets heard without running dry that bring it one step back: a minute of them. */
const CALM = 3000;

/** Its sizes after each of so many times that it ran dry. */
function afterRunningDry(window: AdaptiveWindow, times: number): number[] {
  return Array.from({ length: times }, () => {
    window.ranDry();
    return window.size;
  });
}

/** Its sizes after each of so many minutes of sound, told of in fives as the audio thread does. */
function afterMinutes(window: AdaptiveWindow, minutes: number): number[] {
  return Array.from({ length: minutes }, () => {
    for (let packets = 0; packets < CALM; packets += 5) {
      window.heard(5);
    }
    return window.size;
  });
}

test("it is what was chosen for as long as the sound never runs dry", () => {
  const window = new AdaptiveWindow(15);
  assert.equal(window.size, 15);
  assert.deepEqual(afterMinutes(window, 3), [15, 15, 15]);
});

test("it grows by 200 ms each time the sound runs dry, up to a second", () => {
  assert.deepEqual(afterRunningDry(new AdaptiveWindow(15), 5), [25, 35, 45, 50, 50]);
});

test("one that was chosen as large as that, or larger, stays", () => {
  assert.deepEqual(afterRunningDry(new AdaptiveWindow(50), 2), [50, 50]);
  assert.deepEqual(afterRunningDry(new AdaptiveWindow(75), 2), [75, 75]);
});

test("it goes back by 100 ms for each minute of sound, and not below what was chosen", () => {
  const window = new AdaptiveWindow(25);
  window.ranDry();
  assert.deepEqual(afterMinutes(window, 4), [30, 25, 25, 25]);
});

test("a minute is counted anew when it runs dry", () => {
  const window = new AdaptiveWindow(15);
  window.ranDry();
  window.heard(CALM - 1);
  window.ranDry();
  window.heard(CALM - 1);
  assert.equal(window.size, 35);
  window.heard(1);
  assert.equal(window.size, 30);
});

test("sound that was heard before it ran dry counts for nothing", () => {
  const window = new AdaptiveWindow(15);
  window.heard(CALM);
  window.ranDry();
  window.heard(CALM - 1);
  assert.equal(window.size, 25);
});

test("choosing one begins anew", () => {
  const window = new AdaptiveWindow(15);
  window.ranDry();
  window.heard(CALM - 1);
  window.choose(25);
  assert.equal(window.size, 25);
  window.ranDry();
  window.heard(1);
  assert.equal(window.size, 35);
});
