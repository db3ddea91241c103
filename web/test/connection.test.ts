import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ParleyError } from "../src/errors.js";
import type { FromServer } from "../src/protocol/messages.js";
import { Connection, type ConnectionState } from "../src/session/connection.js";
import { FakeNetwork } from "./doubles.js";

let network: FakeNetwork;
let connection: Connection;
let states: ConnectionState[];
let messages: FromServer[];
let refused: ParleyError[];
let delayed: ParleyError[];
let lost: number;

beforeEach(() => {
  vi.useFakeTimers();
  network = new FakeNetwork();
  [states, messages, refused, delayed, lost] = [[], [], [], [], 0];
  const options = {
    ticket: network.ticket,
    open: network.socket,
    start: (session_id: string) => ({ action: "session.start", session_id }) as const,
    pingEveryMs: 5_000,
    answerWithinMs: 5_000,
  };
  connection = new Connection(options, {
    state: (state) => states.push(state),
    ready: () => undefined,
    message: (message) => messages.push(message),
    refused: (error) => refused.push(error),
    delayed: (error) => delayed.push(error),
    sessionLost: () => (lost += 1),
  });
});
afterEach(() => {
  connection.close();
  vi.useRealTimers();
});

async function settle(ms = 0): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms);
}

async function connected(): Promise<void> {
  connection.open();
  await settle();
  network.last.opens();
  network.last.says({ type: "session.ready", session_id: "session-1" });
}

describe("a connection", () => {
  it("begins the ticket's session and sends nothing before it is ready", async () => {
    connection.open();
    await settle();
    network.last.opens();
    expect(network.last.sent).toEqual([{ action: "session.start", session_id: "session-1" }]);
    expect(connection.send({ action: "ping" })).toBe(false);
    network.last.says({ type: "session.ready", session_id: "session-1" });
    expect(connection.send({ action: "ping" })).toBe(true);
    expect(states).toEqual(["connecting", "open"]);
  });

  it("comes back to its session with a new ticket when a ticket is refused, and waits longer each time", async () => {
    connection.open();
    await settle();
    const times: number[] = [];
    for (let attempt = 0; attempt < 5; attempt++) {
      const before = Date.now();
      const { length } = network.sockets;
      network.last.breaks();
      while (network.sockets.length === length) await settle(50);
      times.push(Date.now() - before);
    }
    expect(network.asked).toEqual([undefined, ...Array<string>(5).fill("session-1")]);
    expect(new Set(network.sockets.map(({ ticket }) => ticket)).size).toBe(6);
    expect(times[0]).toBeLessThan(600);
    expect(times[4]).toBeGreaterThan(3_000);
  });

  it("tries again when the session is not ready in time, whatever else comes", async () => {
    connection.open();
    await settle();
    network.last.opens();
    await settle(4_000);
    network.last.says({ type: "pong" });
    await settle(2_000);
    expect(states.at(-1)).toBe("lost");
    await settle(1_000);
    expect(network.sockets).toHaveLength(2);
  });

  it("notices a connection that died without a word", async () => {
    await connected();
    await settle(5_000);
    expect(network.last.of("ping")).toHaveLength(1);
    network.last.says({ type: "pong" });
    await settle(5_000);
    expect(states.at(-1)).toBe("open");
    await settle(5_000);
    expect(states.at(-1)).toBe("lost");
  });

  it("hears nothing of a connection that it has left", async () => {
    await connected();
    const old = network.last;
    connection.retry();
    old.says({ type: "session.ended", reason: "replaced" });
    expect(messages.map(({ type }) => type)).toEqual(["session.ready"]);
  });

  it("begins another session when its own is gone", async () => {
    await connected();
    network.failure = new ParleyError("not_found", "Gone.", false);
    network.last.breaks();
    await settle(600);
    expect(lost).toBe(1);
    network.failure = null;
    await settle(2_000);
    network.last.opens();
    expect(network.last.sent).toEqual([{ action: "session.start", session_id: "session-2" }]);
  });

  it("gives up when the credentials are no good", async () => {
    network.failure = new ParleyError("unauthorized", "No.", false);
    connection.open();
    await settle(60_000);
    expect(refused).toHaveLength(1);
    expect(network.asked).toHaveLength(1);
  });

  it("tries at once when the network is back", async () => {
    await connected();
    network.failure = new ParleyError("unreachable", "No.", true);
    network.last.breaks();
    await settle(20_000);
    network.failure = null;
    const { length } = network.sockets;
    connection.retryNow();
    await settle();
    expect(network.sockets).toHaveLength(length + 1);
  });

  it("comes back no sooner than it is told to, and says so", async () => {
    network.failure = new ParleyError("throttled", "Too many.", true, 40);
    connection.open();
    await settle(39_000);
    expect(delayed).toEqual([network.failure]);
    expect(network.asked).toHaveLength(1);
    network.failure = null;
    await settle(2_000);
    expect(network.sockets).toHaveLength(1);
  });

  it("stays closed", async () => {
    await connected();
    connection.close();
    await settle(60_000);
    expect(network.sockets).toHaveLength(1);
    expect(states.at(-1)).toBe("closed");
  });
});
