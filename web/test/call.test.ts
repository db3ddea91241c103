import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { encodePcm } from "../src/audio/format.js";
import { ParleyError } from "../src/errors.js";
import { type AudioDevices, type AudioListener, Call } from "../src/session/call.js";
import { Transcript } from "../src/session/transcript.js";
import { FakeNetwork } from "./doubles.js";

let network: FakeNetwork;
let call: Call;
let transcript: Transcript;
let devices: { [K in keyof AudioDevices]: ReturnType<typeof vi.fn<AudioDevices[K]>> };
let microphone: () => Promise<AudioDevices>;
let listener: AudioListener;
let ended: (ParleyError | undefined)[];
let stored: string[];

beforeEach(() => {
  vi.useFakeTimers();
  network = new FakeNetwork();
  transcript = new Transcript();
  devices = { play: vi.fn(), stop: vi.fn(), mute: vi.fn(), close: vi.fn() };
  microphone = async () => devices;
  [ended, stored] = [[], []];
  const parts = {
    audio: (heard: AudioListener) => ((listener = heard), microphone()),
    ticket: network.ticket,
    socket: network.socket,
    refused: () => undefined,
    ended: (error?: ParleyError) => void ended.push(error),
    stored: (conversationId: string) => void stored.push(conversationId),
  };
  call = new Call(parts, transcript);
});
afterEach(() => {
  call.leave();
  vi.useRealTimers();
});

const settle = (ms = 0) => vi.advanceTimersByTimeAsync(ms);
const phase = () => call.store.get().phase;
const speaker = () => call.store.get().speaker;
const messages = () => transcript.store.get().messages;

function hear(frames: number, level = 0): void {
  for (let i = 0; i < frames; i++) listener.captured(new Int16Array(1_440), level);
}

async function ready(next_seq = 1): Promise<void> {
  network.last.opens();
  network.last.says({ type: "session.ready", session_id: "session-1", engine: "nova-sonic", next_seq });
  await settle(1_000);
}

async function live(conversationId?: string): Promise<void> {
  await call.start(conversationId, "de-DE");
  await settle();
  await ready();
}

describe("a call", () => {
  it("asks for the microphone first, then begins a voice session in the open conversation", async () => {
    await live("c1");
    expect(network.last.of("session.start")).toEqual([
      { action: "session.start", medium: "voice", session_id: "session-1", last_seq: 0, conversation_id: "c1", language: "de-DE" },
    ]);
    expect(call.store.get()).toMatchObject({ phase: "live", engine: "nova-sonic" });
  });

  it("tells when the microphone is refused, and asks for no ticket", async () => {
    microphone = async () => {
      throw new ParleyError("microphone_refused", "No.", false);
    };
    await call.start();
    expect(ended[0]?.code).toBe("microphone_refused");
    expect(phase()).toBe("idle");
    expect(network.asked).toHaveLength(0);
  });

  it("gives back a microphone that comes after hanging up", async () => {
    let come: (opened: AudioDevices) => void = () => undefined;
    microphone = () => new Promise((resolve) => (come = resolve));
    const started = call.start();
    call.hangUp();
    come(devices);
    await started;
    expect(devices.close).toHaveBeenCalled();
    expect(phase()).toBe("idle");
  });

  it("sends what is said before the session is ready", async () => {
    await call.start();
    hear(3);
    await settle();
    await ready();
    expect(network.last.of("audio").map(({ seq }) => seq)).toEqual([1, 2, 3]);
  });

  it("comes back to its session and sends what the service has not got", async () => {
    await live();
    hear(4);
    network.last.says({ type: "ack", seq: 2 });
    network.last.breaks();
    expect(phase()).toBe("lost");
    hear(2);
    await settle(600);
    expect(network.asked).toEqual([undefined, "session-1"]);
    network.last.opens();
    expect(network.last.of("session.start")[0]).toMatchObject({ session_id: "session-1", last_seq: 4 });
    await ready(3);
    expect(phase()).toBe("live");
    expect(network.last.of("audio").map(({ seq }) => seq)).toEqual([3, 4, 5, 6]);
    expect(devices.close).not.toHaveBeenCalled();
  });

  it("sends a frame again when it is asked to", async () => {
    await live();
    hear(4);
    network.last.says({ type: "resend", from: 2, to: 2 });
    expect(network.last.of("audio").map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 2]);
  });

  it("writes down both sides: pieces replace each other until they are final", async () => {
    await live();
    const said = (role: "user" | "assistant", text: string, final: boolean) =>
      network.last.says({ type: "transcript", turn_id: "t1", role, text, final });
    said("user", "Hello th", false);
    said("user", "Hello there.", true);
    said("assistant", "Good.", true);
    said("assistant", "How", false);
    expect(messages().map(({ text }) => text)).toEqual(["Hello there.", "Good. How"]);
    said("assistant", "How are you?", true);
    const done = { type: "message.done", turn_id: "t1", conversation_id: "c7", message: "Good. How are you?", model: "m" } as const;
    network.last.says({ ...done, citations: [], knowledge: "none", medium: "voice" });
    expect(messages()).toHaveLength(2);
    expect(messages()[1]).toMatchObject({ text: "Good. How are you?", state: "done", model: "m" });
    expect(stored).toEqual(["c7"]);
  });

  it("plays the answer and says every two seconds how much was heard", async () => {
    await live();
    const pcm = Int16Array.of(1, 2, 3);
    network.last.says({ type: "audio", turn_id: "t1", data: encodePcm(pcm) });
    expect(devices.play).toHaveBeenCalledWith("t1", pcm);
    for (let ms = 100; ms <= 4_800; ms += 100) listener.played({ turnId: "t1", ms, drained: false, stopped: false, level: 0.2 });
    expect(speaker()).toBe("assistant");
    listener.played({ turnId: "t1", ms: 4_834.5, drained: true, stopped: false, level: 0.2 });
    expect(network.last.of("played").map(({ ms }) => ms)).toEqual([2_000, 4_000, 4_835]);
    expect(speaker()).toBe("nobody");
  });

  it("falls silent at the service's word, and plays nothing more of that turn", async () => {
    await live();
    const data = encodePcm(Int16Array.of(1));
    network.last.says({ type: "audio", turn_id: "t1", data });
    network.last.says({ type: "interrupted", turn_id: "t1" });
    expect(devices.stop).toHaveBeenCalledExactlyOnceWith("t1");
    listener.played({ turnId: "t1", ms: 321, drained: true, stopped: true, level: 0 });
    expect(network.last.of("played")).toEqual([{ action: "played", turn_id: "t1", ms: 321 }]);
    network.last.says({ type: "audio", turn_id: "t1", data });
    network.last.says({ type: "audio", turn_id: "t2", data });
    expect(devices.play.mock.calls.map(([turnId]) => turnId)).toEqual(["t1", "t2"]);
  });

  it("survives voice that is no base64", async () => {
    await live();
    network.last.says({ type: "audio", turn_id: "t1", data: "?" });
    expect(phase()).toBe("live");
  });

  it("shows who speaks", async () => {
    await live();
    expect(speaker()).toBe("nobody");
    hear(1, 0.3);
    expect(speaker()).toBe("user");
    hear(3);
    expect(speaker()).toBe("user");
    hear(5);
    expect(speaker()).toBe("nobody");
    network.last.says({ type: "transcript", turn_id: "t1", role: "user", text: "Yes?", final: true });
    expect(speaker()).toBe("thinking");
  });

  it("shows a tool at work before the first word", async () => {
    await live();
    network.last.says({ type: "tool", turn_id: "t1", name: "search_knowledge", status: "started" });
    network.last.says({ type: "tool", turn_id: "t1", name: "search_knowledge", status: "done" });
    expect(messages()[0]?.tools).toEqual([{ name: "search_knowledge", status: "done" }]);
  });

  it("takes typed words, and repeats over a new connection only those that no turn has begun for", async () => {
    await live();
    call.say("one");
    network.last.says({ type: "transcript", turn_id: "t1", role: "user", text: "one", final: true });
    call.say("two");
    network.last.breaks();
    call.say("three");
    await settle(600);
    await ready();
    expect(network.last.of("text").map(({ message }) => message)).toEqual(["two", "three"]);
    expect(messages().map(({ text, key }) => [text, key.startsWith("t1/")])).toEqual([["one", true], ["two", false], ["three", false]]);
  });

  it("shows which typed words were refused", async () => {
    await live();
    call.say("one");
    const request_id = network.last.of("text")[0]?.request_id ?? null;
    network.last.says({ type: "error", code: "conflict", message: "Busy.", retryable: true, request_id });
    expect(messages()[0]).toMatchObject({ state: "failed" });
    expect(phase()).toBe("live");
  });

  it.each(["session_unavailable", "engine_unavailable"])("tries again after %s, but not for ever", async (code) => {
    await call.start();
    await settle();
    for (let attempt = 0; attempt < 6; attempt++) {
      expect(phase()).not.toBe("idle");
      network.last.opens();
      network.last.says({ type: "error", code, message: "Not now.", retryable: true });
      for (let waited = 0; waited < 160 && network.sockets.length === attempt + 1; waited++) await settle(100);
    }
    expect(phase()).toBe("idle");
    expect(ended.at(-1)?.code).toBe(code);
    expect(network.sockets).toHaveLength(6);
  });

  it("ends when the day's minutes are used up, and knows when they come back", async () => {
    await live();
    network.last.says({ type: "error", code: "quota_exceeded", message: "Used up.", retryable: false, retry_after: 3_600 });
    network.last.says({ type: "session.ended", reason: "limit" });
    expect(phase()).toBe("idle");
    expect(ended).toMatchObject([{ code: "quota_exceeded", retryAfter: 3_600 }]);
  });

  it("does not begin when too much was asked for, but waits when it has begun", async () => {
    network.failure = new ParleyError("throttled", "Too many.", true, 40);
    await call.start();
    await settle();
    expect(phase()).toBe("idle");
    expect(ended).toMatchObject([{ code: "throttled" }]);

    network.failure = null;
    await live();
    network.failure = new ParleyError("throttled", "Too many.", true, 40);
    network.last.breaks();
    await settle(20_000);
    expect(phase()).toBe("lost");
    expect(ended).toHaveLength(1);
  });

  it("goes on after an error about one message", async () => {
    await live();
    network.last.says({ type: "error", code: "audio_invalid", message: "A frame.", retryable: false });
    expect(phase()).toBe("live");
    expect(ended).toEqual([]);
  });

  it.each([
    ["replaced", "call_replaced"],
    ["idle", "call_idle"],
    ["failed", "call_failed"],
  ] as const)("ends with a reason when the service says %s", async (reason, code) => {
    await live();
    network.last.says({ type: "session.ended", reason });
    expect(ended.at(-1)?.code).toBe(code);
    expect(devices.close).toHaveBeenCalled();
    await settle(60_000);
    expect(network.sockets).toHaveLength(1);
  });

  it("hangs up: devices at once, the last words still arrive", async () => {
    await live();
    call.hangUp();
    expect(devices.close).toHaveBeenCalled();
    expect(network.last.of("session.end")).toHaveLength(1);
    network.last.says({ type: "transcript", turn_id: "t1", role: "user", text: "Bye", final: true });
    network.last.says({ type: "session.ended", reason: "ended" });
    expect(messages()).toHaveLength(1);
    expect(ended).toEqual([undefined]);
    expect(phase()).toBe("idle");
  });

  it("waits for the last words only so long", async () => {
    await live();
    call.hangUp();
    await settle(2_000);
    expect(phase()).toBe("idle");
  });

  it("ends when the microphone is unplugged", async () => {
    await live();
    listener.microphoneLost();
    expect(ended.at(-1)?.code).toBe("microphone_lost");
  });

  it("begins another session when its own has expired, with what nobody has heard", async () => {
    await live("c1");
    hear(3);
    network.last.says({ type: "ack", seq: 1 });
    network.failure = new ParleyError("not_found", "Gone.", false);
    network.last.breaks();
    await settle(600);
    network.failure = null;
    await settle(2_000);
    network.last.opens();
    expect(network.last.of("session.start")[0]).toMatchObject({ session_id: "session-2", conversation_id: "c1", last_seq: 0 });
    await ready(1);
    expect(network.last.of("audio").map(({ seq }) => seq)).toEqual([1, 2]);
  });

  it("can be begun again, from the beginning", async () => {
    await live();
    hear(3);
    call.leave();
    await live();
    hear(1);
    expect(network.asked).toEqual([undefined, undefined]);
    expect(network.last.of("audio").map(({ seq }) => seq)).toEqual([1]);
  });
});
