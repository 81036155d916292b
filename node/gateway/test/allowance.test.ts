import assert from "node:assert/strict";
import { test } from "node:test";
import { Allowance, CREDIT_COST, MESSAGES_BURST, MESSAGES_PER_SECOND } from "../dist/allowance.js";

function take(allowance: Allowance, now: number, cost: number): number {
  let taken = 0;
  while (allowance.take(now, cost)) {
    taken += 1;
  }
  return taken;
}

test("a burst is allowed, and then as many as time makes", () => {
  const allowance = new Allowance(1000);
  assert.equal(take(allowance, 1000, 1), MESSAGES_BURST);
  assert.equal(take(allowance, 1010, 1), 0);
  assert.equal(take(allowance, 2000, 1), MESSAGES_PER_SECOND);
});

test("what is not used adds up to one burst", () => {
  const allowance = new Allowance(0);
  assert.equal(take(allowance, 3_600_000, 1), MESSAGES_BURST);
});

test("eight sessions that give credit ten times a second stay allowed", () => {
  const allowance = new Allowance(0);
  for (let now = 0; now < 60_000; now += 100) {
    for (let session = 0; session < 8; session++) {
      assert.ok(allowance.take(now, CREDIT_COST));
    }
  }
});
