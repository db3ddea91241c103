import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Api, Conversation } from "../src/api/api.js";
import { ParleyError, sentence } from "../src/errors.js";
import type { MessageDone } from "../src/protocol/messages.js";
import { Assistant } from "../src/session/assistant.js";
import { markdown } from "../src/session/markdown.js";
import { FakeNetwork } from "./doubles.js";

const CONVERSATION: Conversation = {
  conversation_id: "c1",
  title: "Tickets",
  created_at: "2026-11-21T10:00:00Z",
  updated_at: "2026-11-21T10:00:05Z",
  turns: [
    { turn_id: "t1", role: "user", medium: "voice", message: "How long?", created_at: "2026-11-21T10:00:00Z" },
    {
      turn_id: "t1",
      role: "assistant",
      medium: "voice",
      message: "Sixty seconds. [1]",
      created_at: "2026-11-21T10:00:05Z",
      citations: [{ id: 1, document_id: "d1", document: "api.md", heading: "Tickets", page: 3, score: 1, text: "60 s" }],
    },
  ],
};

let network: FakeNetwork;
let api: { [K in keyof Api]: ReturnType<typeof vi.fn<Api[K]>> };
let assistant: Assistant;
let left: ParleyError[];

beforeEach(async () => {
  vi.useFakeTimers();
  network = new FakeNetwork();
  left = [];
  const list = { conversations: [CONVERSATION], cursor: null };
  api = {
    ticket: vi.fn(network.ticket),
    chat: vi.fn(),
    conversations: vi.fn(async () => list),
    conversation: vi.fn(async () => CONVERSATION),
    exported: vi.fn(async () => CONVERSATION),
    remove: vi.fn(async () => undefined),
    sourceUrl: vi.fn(),
    requestExport: vi.fn(),
    readExport: vi.fn(),
    requestDeletion: vi.fn(),
    readDeletion: vi.fn(),
  };
  const audio = async () => ({ play: vi.fn(), stop: vi.fn(), mute: vi.fn(), close: vi.fn() });
  assistant = new Assistant({ api: api as unknown as Api, socket: network.socket, audio, left: (error) => left.push(error) });
  assistant.open();
  await settle();
  ready();
});
afterEach(() => {
  assistant.close();
  vi.useRealTimers();
});

const settle = (ms = 0) => vi.advanceTimersByTimeAsync(ms);
const messages = () => assistant.transcript.store.get().messages;

function ready(): void {
  network.last.opens();
  network.last.says({ type: "session.ready", session_id: "session-1" });
}

const answered = (request_id: string): MessageDone => ({
  type: "message.done",
  turn_id: "t2",
  request_id,
  conversation_id: "c2",
  message: "Yes.",
  citations: [],
  model: "m",
  knowledge: "none",
});

describe("asking in writing", () => {
  it("shows the answer as it grows, then whole, with what it cost", () => {
    expect(assistant.send("Is it?")).toBe(true);
    const asked = network.last.of("text")[0];
    expect(asked).toMatchObject({ message: "Is it?" });
    const request_id = asked?.request_id ?? "";
    expect(messages().map(({ state }) => state)).toEqual(["done", "waiting"]);
    expect(assistant.send("And?")).toBe(false);

    network.last.says({ type: "tool", turn_id: "t2", name: "search_knowledge", status: "started" });
    network.last.says({ type: "message.delta", turn_id: "t2", request_id, text: "Ye" });
    network.last.says({ type: "message.delta", turn_id: "t2", request_id, text: "s" });
    expect(messages()[1]).toMatchObject({ text: "Yes", state: "writing", tools: [{ status: "started" }] });
    network.last.says(answered(request_id));
    network.last.says({ type: "usage", turn_id: "t2", input_tokens: 5, output_tokens: 1, cost_usd: null });
    expect(messages()[1]).toMatchObject({ text: "Yes.", state: "done", usage: { input_tokens: 5 } });
    expect(assistant.store.get()).toMatchObject({ busy: false, conversationId: "c2" });

    assistant.send("Go on");
    expect(network.last.of("text")[1]).toMatchObject({ conversation_id: "c2" });
  });

  it("asks again over the next connection, under the same id", async () => {
    assistant.send("Is it?");
    const [first] = network.last.of("text");
    network.last.breaks();
    await settle(600);
    ready();
    const [second] = network.last.of("text");
    expect(second).toEqual(first);
    // The first attempt may be running still.
    network.last.says({ type: "error", code: "conflict", message: "Busy.", retryable: true, request_id: first?.request_id ?? null });
    await settle(2_000);
    expect(network.last.of("text")).toHaveLength(2);
    network.last.says(answered(first?.request_id ?? ""));
    expect(messages().map(({ text }) => text)).toEqual(["Is it?", "Yes."]);
  });

  it("says what went wrong, and asks once more on request", () => {
    assistant.send("Is it?");
    const request_id = network.last.of("text")[0]?.request_id ?? null;
    network.last.says({ type: "error", code: "model_unavailable", message: "None.", retryable: true, request_id });
    expect(messages()[1]).toMatchObject({ state: "failed" });
    expect(sentence(messages()[1]?.error)).toContain("No language model answered");
    messages()[1]?.retry?.();
    expect(messages()).toHaveLength(2);
    expect(network.last.of("text")[1]?.request_id).toBe(request_id);
  });

  it("gives up on an answer that never comes", async () => {
    assistant.send("Is it?");
    for (let minute = 0; minute < 18; minute++) {
      await settle(5_000);
      network.last.says({ type: "pong" });
    }
    await settle(1);
    expect(messages()[1]).toMatchObject({ state: "failed" });
  });

  it("sends by HTTP what is too long for a frame", async () => {
    api.chat.mockResolvedValue({ ...answered("x"), knowledge: "none", citations: [], usage: { input_tokens: 1, output_tokens: 1, cost_usd: 0 } });
    assistant.send("é".repeat(16_000));
    await settle();
    expect(network.last.of("text")).toHaveLength(0);
    expect(messages()[1]).toMatchObject({ text: "Yes.", state: "done" });
  });
});

describe("a call beside the chat", () => {
  it("takes what is typed, has a session of its own, and ends with its conversation", async () => {
    await assistant.openConversation("c1");
    await assistant.talk();
    await settle();
    const call = network.last;
    ready();
    expect(network.sockets).toHaveLength(2);
    expect(call.of("session.start")[0]).toMatchObject({ medium: "voice", conversation_id: "c1" });
    assistant.send("By text");
    expect(call.of("text")[0]).toMatchObject({ message: "By text" });
    // Too long to be spoken: answered in writing.
    assistant.send("x".repeat(4_001));
    expect(call.of("text")).toHaveLength(1);
    expect(network.sockets[0]?.of("text")).toHaveLength(1);
    assistant.startConversation();
    expect(call.of("session.end")).toHaveLength(1);
    expect(assistant.call.active).toBe(false);
    expect(messages()).toHaveLength(0);
  });
});

describe("past conversations", () => {
  it("are opened", async () => {
    await assistant.openConversation("c1");
    expect(messages().map(({ text, medium }) => [text, medium])).toEqual([["How long?", "voice"], ["Sixty seconds. [1]", "voice"]]);
    assistant.send("Go on");
    expect(network.last.of("text")[0]).toMatchObject({ conversation_id: "c1" });
  });

  it("are read page by page", async () => {
    api.conversations.mockResolvedValueOnce({ conversations: [CONVERSATION], cursor: "next" });
    assistant.startConversation();
    await settle();
    expect(api.conversations).toHaveBeenLastCalledWith("next");
    expect(assistant.store.get().conversations).toHaveLength(2);
  });

  it("are searched inside, each read once", async () => {
    const found: string[] = [];
    const search = (words: string) => assistant.search(words, (id) => found.push(id), new AbortController().signal);
    await search("SIXTY");
    await search("nothing");
    expect(found).toEqual(["c1"]);
    expect(api.conversation).toHaveBeenCalledTimes(1);
  });

  it("are deleted, and the open one closes", async () => {
    await assistant.openConversation("c1");
    api.conversations.mockResolvedValue({ conversations: [], cursor: null });
    expect(await assistant.removeConversation("c1")).toBe(true);
    expect(assistant.store.get()).toMatchObject({ conversations: [], conversationId: undefined });
    expect(messages()).toHaveLength(0);
  });

  it("stay when they cannot be deleted, with a sentence", async () => {
    api.remove.mockRejectedValue(new ParleyError("store_unavailable", "No.", true));
    expect(await assistant.removeConversation("c1")).toBe(false);
    expect(sentence(assistant.store.get().notice)).toContain("Try again");
  });

  it("become text with their sources", () => {
    expect(markdown(CONVERSATION)).toBe(
      "# Tickets\n\n2026-11-21T10:00:00Z\n\n**You** (spoken)\n\nHow long?\n\n**Parley** (spoken)\n\nSixty seconds. [1]\n\n- [1] api.md, Tickets, page 3\n",
    );
  });
});

it("says why no connection is given for now, until there is one", async () => {
  network.failure = new ParleyError("throttled", "Too many.", true, 40);
  network.last.breaks();
  await settle(1_000);
  expect(sentence(assistant.store.get().notice)).toContain("in 40 seconds");
  network.failure = null;
  await settle(42_000);
  ready();
  expect(assistant.store.get().notice).toBeNull();
});

it("leaves when the sign-in has ended", () => {
  assistant.report(new ParleyError("unauthorized", "Ended.", false));
  expect(left).toHaveLength(1);
  expect(assistant.store.get().connection).toBe("closed");
});
