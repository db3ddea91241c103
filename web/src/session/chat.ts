import type { Answer, Api } from "../api/api.js";
import { ParleyError } from "../errors.js";
import type { FromServer, MessageDone, Text } from "../protocol/messages.js";
import type { Connection } from "./connection.js";
import type { Transcript } from "./transcript.js";

interface PendingTurn {
  requestId: string;
  message: string;
  text: string;
  /** The connection (by count) that carried the question; another one means that it has to be asked again. */
  sentOn: number | null;
  watchdog: ReturnType<typeof setTimeout> | undefined;
  /** Whether the first attempt may still be running somewhere. */
  repeated: boolean;
}

/** A WebSocket frame carries 32 KB at most and a browser cannot split one; the rest is room for its other fields. */
const LARGEST_FRAME_BYTES = 30_000;
/** Longer than a turn may take, so it fires only when a turn died without a word. */
const ANSWER_WITHIN_MS = 90_000;
const ASK_AGAIN_MS = 2_000;

/** One conversation at a time and one question at a time, over the WebSocket or, for long messages, over HTTP. */
export class Chat {
  conversationId: string | undefined;
  private pending: PendingTurn | null = null;
  /** The message of each turn, because the cost of a turn may be told after its last word. */
  private readonly keys = new Map<string, string>();
  private connections = 0;

  constructor(
    private readonly api: Pick<Api, "chat">,
    private readonly connection: () => Pick<Connection, "send">,
    private readonly transcript: Transcript,
    private readonly changed: () => void,
  ) {}

  get busy(): boolean {
    return this.pending !== null;
  }

  ask(message: string, requestId: string = crypto.randomUUID()): void {
    this.pending = { requestId, message, text: "", sentOn: null, watchdog: undefined, repeated: false };
    this.transcript.put(`${requestId}/user`, { role: "user", medium: "text", text: message, state: "done" });
    this.transcript.put(requestId, { role: "assistant", medium: "text", state: "waiting", text: "", tools: [], error: undefined });
    this.changed();
    void this.deliver(this.pending);
  }

  /** Leaves the conversation; an answer still under way is stored but not shown here. */
  switchTo(conversationId: string | undefined): void {
    clearTimeout(this.pending?.watchdog);
    this.pending = null;
    this.keys.clear();
    this.conversationId = conversationId;
    this.changed();
  }

  receive(message: FromServer): void {
    switch (message.type) {
      case "session.ready":
        this.connections += 1;
        if (this.pending) void this.deliver(this.pending);
        break;
      case "message.delta": {
        const turn = this.turnOf(message.request_id);
        if (!turn) break;
        this.keys.set(message.turn_id, turn.requestId);
        turn.text += message.text;
        this.transcript.update(turn.requestId, { text: turn.text, state: "writing" });
        break;
      }
      case "message.done": {
        const turn = this.turnOf(message.request_id);
        if (!turn) break;
        this.keys.set(message.turn_id, turn.requestId);
        this.done(turn, message);
        break;
      }
      case "tool":
        // One question at a time: it is for the one that waits.
        if (this.pending) this.transcript.tool(this.pending.requestId, message);
        break;
      case "usage": {
        const { input_tokens, output_tokens, cost_usd } = message;
        const key = this.keys.get(message.turn_id);
        if (key) this.transcript.update(key, { usage: { input_tokens, output_tokens, cost_usd } });
        break;
      }
      case "error": {
        const turn = this.turnOf(message.request_id);
        if (!turn) break;
        // Asked again over a new connection while the first attempt still runs: its answer can be fetched soon.
        if (message.code === "conflict" && turn.repeated) this.askAgainSoon(turn);
        else this.fail(turn, new ParleyError(message.code, message.message, message.retryable, message.retry_after));
        break;
      }
      default:
        break;
    }
  }

  private turnOf(requestId: string | null | undefined): PendingTurn | null {
    return this.pending && (!requestId || this.pending.requestId === requestId) ? this.pending : null;
  }

  private async deliver(turn: PendingTurn): Promise<void> {
    const frame: Text = {
      action: "text",
      message: turn.message,
      request_id: turn.requestId,
      ...(this.conversationId && { conversation_id: this.conversationId }),
    };
    if (new TextEncoder().encode(JSON.stringify(frame)).length > LARGEST_FRAME_BYTES) {
      await this.deliverByHttp(turn);
    } else if (this.connections > 0 && turn.sentOn !== this.connections && this.connection().send(frame)) {
      turn.repeated = turn.sentOn !== null;
      turn.sentOn = this.connections;
      turn.text = "";
      turn.watchdog ??= this.watch(turn);
    }
    // Not sent: the next `session.ready` delivers it.
  }

  private async deliverByHttp(turn: PendingTurn): Promise<void> {
    if (turn.sentOn !== null) return;
    turn.sentOn = 0;
    try {
      const answer = await this.api.chat(turn.message, turn.requestId, this.conversationId);
      if (this.pending !== turn) return;
      this.done(turn, answer);
      this.transcript.update(turn.requestId, { usage: answer.usage });
    } catch (error) {
      if (this.pending === turn) this.fail(turn, error);
    }
  }

  private askAgainSoon(turn: PendingTurn): void {
    setTimeout(() => {
      if (this.pending !== turn) return;
      // No connection carries the question any more, so it may go over the same one again.
      turn.sentOn = 0;
      void this.deliver(turn);
    }, ASK_AGAIN_MS);
  }

  private watch(turn: PendingTurn): ReturnType<typeof setTimeout> {
    return setTimeout(() => {
      if (this.pending === turn) this.fail(turn, new ParleyError("no_answer", "No answer came.", true));
    }, ANSWER_WITHIN_MS);
  }

  private done(turn: PendingTurn, answer: MessageDone | Answer): void {
    const { message: text, citations, model, knowledge } = answer;
    this.conversationId = answer.conversation_id;
    this.transcript.update(turn.requestId, { text, citations, model, knowledge, state: "done" });
    this.finish(turn);
  }

  private fail(turn: PendingTurn, error: unknown): void {
    const retry = (): void => {
      if (!this.busy) this.ask(turn.message, turn.requestId);
    };
    const hopeless = error instanceof ParleyError && !error.retryable;
    this.transcript.update(turn.requestId, { state: "failed", error, retry: hopeless ? undefined : retry });
    this.finish(turn);
  }

  private finish(turn: PendingTurn): void {
    clearTimeout(turn.watchdog);
    this.pending = null;
    this.changed();
  }
}
